/* What reading and writing cookies share. */
#ifndef NP_PROTO_COOKIE_IMPL_H
#define NP_PROTO_COOKIE_IMPL_H

#include "proto/cookie.h"

/* What is wrong with a cookie by the rules of its name's prefix; NULL when nothing is. */
const char *np_cookie_prefix_problem(const struct np_set_cookie *c);

#endif
