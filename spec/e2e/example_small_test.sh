# The small examples: each runs, says what it should, and ends by itself.
. "$NEAP_SOURCE/spec/support/e2e.sh"

run() {
  timeout 60 "$NEAP" run "examples/$1.lua" 2>"$tmp/$1.log" || fail "$1 ended with $?"
}

matches "$(run hello)" '200.*\{"hello":"you"\}' "hello"

policy=$(run policy)
matches "$policy" '1[0-9] answered by eu-1 1' "the near instances"
matches "$policy" '1[0-9] answered by eu-1 2' "the near instances"
matches "$policy" 'ann went to eu-1 [12],' "a policy around another"

messages=$(run messages)
matches "$messages" 'audit hears orders.eu.created: \{"id":1\}' "a subscriber"
matches "$messages" 'billing [12] bills orders.eu.created' "a queue group"
matches "$messages" 'the quote is \{' "a reply"
matches "$messages" 'ENORESPONDERS' "nobody there"

board=$(run board)
matches "$board" 'without a name: 401' "no cookie"
matches "$board" 'with one: 201' "a form, and a cookie"
matches "$board" 'sees: .*"by":"ann"' "an event"
matches "$board" '"bytes":3' "a file"
