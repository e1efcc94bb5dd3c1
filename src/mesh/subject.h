/* Subjects: names of messages, in tokens parted by '.', and patterns over them (NATS' rules).
 *
 * A token is one or more bytes other than '.', blanks and control characters. In a pattern a token
 * "*" stands for any one token and a last token ">" for one or more; elsewhere those characters
 * are letters like any other. Pure functions, any thread.
 */
#ifndef NP_MESH_SUBJECT_H
#define NP_MESH_SUBJECT_H

#include <stdbool.h>
#include <stddef.h>

#define NP_SUBJECT_MAX_LEN 1024  /* bytes, default limit */
#define NP_SUBJECT_MAX_TOKENS 64 /* tokens, the limit that no option raises */

/* A subject that can be published to: valid, and no token is a wildcard. */
bool np_subject_ok(const char *s, size_t n);
/* A pattern that can be subscribed to. Every subject is one. */
bool np_pattern_ok(const char *s, size_t n);
/* A queue group's name: one or more bytes, no blanks or control characters. */
bool np_queue_name_ok(const char *s, size_t n);
/* Whether a valid pattern has a wildcard. */
bool np_pattern_has_wildcard(const char *s, size_t n);
/* Whether a valid pattern takes a valid subject. */
bool np_pattern_match(const char *pattern, size_t pn, const char *subject, size_t sn);
/* Whether every subject that `inner` takes is taken by `outer` as well (both valid patterns). */
bool np_pattern_covers(const char *outer, size_t on, const char *inner, size_t in);

#endif
