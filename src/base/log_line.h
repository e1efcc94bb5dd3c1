/* One line of the log, formatted: what log.c puts into its ring.
 *
 * Private to the logger. A line grows from a fixed block on the caller's stack to the heap when it
 * has to; when that fails `failed` is set, and the line counts as dropped. */
#ifndef NP_BASE_LOG_LINE_H
#define NP_BASE_LOG_LINE_H

#include "base/log.h"

enum np_log_style {
    NP_LOG_STYLE_JSON,  /* one JSON object a line */
    NP_LOG_STYLE_PLAIN, /* text, full UTC time, nothing but printable characters and one newline */
    NP_LOG_STYLE_TTY,   /* text, local time of day, newlines kept and indented */
    NP_LOG_STYLE_COLOR, /* the same in colour */
};

struct np_log_line {
    char *p;
    size_t len;
    size_t cap;
    bool failed;
    char fixed[1024];
};

void np_log_line_init(struct np_log_line *l);
void np_log_line_fini(struct np_log_line *l);

/* Formats a whole line, its newline included. `wall_ns` is nanoseconds since 1970. */
void np_log_line_format(struct np_log_line *l, enum np_log_style style, int64_t wall_ns,
                        enum np_log_level level, const char *msg, size_t msg_len,
                        const struct np_log_field *fields, size_t nfields);

#endif
