/* The logger: levels, fields, text on a terminal and JSON lines otherwise.
 *
 * A line is formatted on the calling thread into a bounded ring and written by a thread of the
 * logger's own (started by the first line), so that a slow terminal or a full pipe never blocks a
 * loop. When the ring is full the line is dropped and counted, and the count is logged when there
 * is room again. Any thread may log. Closing flushes, for at most `flush_seconds`.
 */
#ifndef NP_BASE_LOG_H
#define NP_BASE_LOG_H

#include "base/err.h"

enum np_log_level {
    NP_LOG_TRACE,
    NP_LOG_DEBUG,
    NP_LOG_INFO,
    NP_LOG_WARN,
    NP_LOG_ERROR,
    NP_LOG_OFF
};
enum np_log_format { NP_LOG_AUTO, NP_LOG_TEXT, NP_LOG_JSON };

struct np_log_options {
    int fd;                    /* default 2; not closed by the logger */
    enum np_log_level level;   /* default info */
    enum np_log_format format; /* default auto: text if fd is a terminal */
    size_t ring_bytes;         /* default 1 MiB */
    double flush_seconds;      /* default 1 */
};
#define NP_LOG_OPTIONS_INIT                        \
    {                                              \
        2, NP_LOG_INFO, NP_LOG_AUTO, 1u << 20, 1.0 \
    }

enum np_log_field_type { NP_LOG_STR, NP_LOG_INT, NP_LOG_NUM, NP_LOG_BOOL };
struct np_log_field {
    const char *name;
    enum np_log_field_type type;
    union {
        struct {
            const char *p;
            size_t n;
        } str;
        int64_t i;
        double num;
        bool b;
    } as;
};

struct np_log;
NEAP_MUST_CHECK enum neap_err np_log_new(const struct np_log_options *opts, struct np_log **out);
void np_log_free(struct np_log *log); /* flushes; NULL is allowed */

int np_log_fd(const struct np_log *log); /* where it writes */
void np_log_set_level(struct np_log *log, enum np_log_level level);
enum np_log_level np_log_get_level(const struct np_log *log);
/* Cheap; check before building fields. A NULL logger is never enabled. */
bool np_log_enabled(const struct np_log *log, enum np_log_level level);

/* One line. `fields` are copied. Control characters in text are escaped, so a peer cannot forge
 * lines; a traceback's newlines are kept (indented) on a terminal only. */
void np_log_write(struct np_log *log, enum np_log_level level, const char *msg, size_t msg_len,
                  const struct np_log_field *fields, size_t nfields);
void np_logf(struct np_log *log, enum np_log_level level, const char *fmt, ...) NEAP_PRINTF(3, 4);
/* Waits until what was logged so far is written, at most `seconds`. */
void np_log_flush(struct np_log *log, double seconds);

const char *np_log_level_name(enum np_log_level level);
/* "trace" … "error", "off"; false for another word. */
bool np_log_level_parse(const char *name, enum np_log_level *out);

#endif
