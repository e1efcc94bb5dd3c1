"""A person at the REPL: a pseudo-terminal, keys, and what is on the screen. Run by repl_test.sh.

Nothing sleeps: after each key or line the output is read until what should come has come.
"""

import os
import pty
import re
import select
import signal
import sys
import termios
import time

PATIENCE = 30
NEAP = os.environ["NEAP"]
TMP = sys.argv[1]
PROMPT = r"(?:^|[\n\r])(?:\x1b\[[0-9]*[A-Z])*> "


class Terminal:
    def __init__(self, *args):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm", LC_ALL="C.UTF-8", NEAP_HISTORY=TMP + "/dir/history")
            os.execv(NEAP, [NEAP, *args])
        self.seen = ""  # what was read and not yet expected

    def expect(self, pattern):
        end = time.monotonic() + PATIENCE
        while True:
            found = re.search(pattern, self.seen)
            if found:
                self.seen = self.seen[found.end():]
                return found
            ready, _, _ = select.select([self.fd], [], [], max(0, end - time.monotonic()))
            if not ready:
                sys.exit(f"FAILED: {pattern!r} did not come; there is {self.seen!r}")
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            if not data:
                sys.exit(f"FAILED: the end came before {pattern!r}; there is {self.seen!r}")
            self.seen += data.decode(errors="replace")

    def keys(self, text):
        os.write(self.fd, text.encode())

    def line(self, text, *patterns):
        """Types a line and expects, in order, what it prints, then the prompt."""
        self.keys(text + "\r")
        for pattern in patterns:
            self.expect(pattern)
        self.expect(PROMPT)
        self.typing()

    def typing(self):
        """Waits until the REPL takes keys one by one again: what is typed earlier is the tty's."""
        while termios.tcgetattr(self.fd)[3] & termios.ICANON:
            os.sched_yield()

    def end(self, want=0):
        _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code != want:
            sys.exit(f"FAILED: exit code {code}, wanted {want}; there is {self.seen!r}")
        os.close(self.fd)


def start(*args):
    t = Terminal(*args)
    t.expect(PROMPT)
    t.typing()
    return t


# Values, statements, errors, several lines.
t = start("repl")
t.line("1 + 1", r"\n2\r")
t.line("= 'a' .. 'b'", r'\n"ab"\r')
t.line('"h\u00e9"', '\\n"h\u00e9"\r')
t.line("local kept = 7", "")
t.line("kept", r"\n7\r")
t.line("_ + 1", r"\n8\r")
t.line("for i = 1, 2 do\rprint('line', i)\rend", ">> ", ">> ", r"line\t1\r|line +1\r", r"line.*2\r")
t.line("error('oh')", "input:1: oh", "stack traceback", "in main chunk")
t.line("x = = 1", "unexpected symbol near '='")
t.line("nil, require('neap.task').error('EBUSY', 'later')", "nil.*EBUSY: later")

# Completion: globals, modules, fields, methods through __index; a list where there are several.
t.keys("neap.ht\t")
t.expect(r"neap\.http")
t.keys(".ser\t")
t.expect(r"neap\.http\.serve")
t.keys("\x15")  # the line away
t.line("obj = setmetatable({ value = 1 }, { __index = { visit = print, version = 2 } })", "")
t.keys("obj:vis\t")
t.expect(r"obj:visit")
t.keys("\x15obj.v\t")
t.expect(r"value +version +visit")
t.keys("\x03")
t.expect(r"\^C")
t.expect(PROMPT)
t.typing()

# The loop goes on while a line is typed; what is printed leaves the line as it was.
t.line("task = neap.task", "")
t.keys("task.spawn(function() task.sleep(0.05) print('tick') end); local typed = 5\r")
t.keys("typed + ")
t.expect(r"tick\r\n> typed \+ ")
t.keys("1\r")
t.expect(r"\n6\r")
t.expect(PROMPT)
t.typing()
t.line("app = neap.http.app(); app:get('/', function() return 'served' end)", "")
t.line("server = neap.http.serve { app = app, port = 0 }", "")
t.line("neap.http.get('http://' .. server.address).body", '"served"')
t.line("neap.log.info('from the log')", "from the log")

# Ctrl-C ends the line that runs, waiting or busy, and only that.
t.line("background = task.spawn(function() task.sleep(1000) end)", "")
lines = ["print('go') task.sleep(1000)"]
with open(NEAP, "rb") as f:
    if b"__tsan_init" not in f.read():  # it holds signals back from a thread that calls nothing of libc
        lines.append("print('go') while true do end")
for code in lines:
    t.keys(code + "\r")
    t.expect(r"\ngo\r")
    t.keys("\x03")
    t.expect("interrupted")
    t.expect(PROMPT)
    t.typing()
t.line("background:done()", "false")
t.keys("half a li\x03")
t.expect(PROMPT)
t.typing()
t.line("'still ' .. 'there'", '"still there"')
t.keys("\x04")
t.end()

# History comes back in the next session; a file can be loaded first; SIGTERM ends it.
with open(TMP + "/service.lua", "w") as f:
    f.write("loaded = arg[0]:match('[^/]+$') print('service up')\n")
t = Terminal("run", "-i", TMP + "/service.lua")
t.expect("service up")
t.expect(PROMPT)
t.typing()
t.line("loaded", '"service.lua"')
t.keys("\x1b[A\x1b[A")
t.expect(r"'still ' \.\. 'there'")
t.keys("\r")
t.expect('"still there"')
t.expect(PROMPT)
t.typing()
if os.stat(TMP + "/dir/history").st_mode & 0o77:
    sys.exit("FAILED: others can read the history")
os.kill(t.pid, signal.SIGTERM)
t.end()

# --load; a script that stops the host ends the REPL.
t = Terminal("repl", "--load", TMP + "/service.lua")
t.expect("service up")
t.expect(PROMPT)
t.typing()
t.keys("require('neap.core.runtime').stop()\r")
t.end()
