-- What `print` is at a prompt: the same, but it does not flush. The REPL writes what has gathered when it
-- has taken the line that is being edited from the screen.

return function(...)
  local texts = table.pack(...)
  for i = 1, texts.n do texts[i] = tostring(texts[i]) end
  io.stdout:write(table.concat(texts, "\t", 1, texts.n), "\n")
end
