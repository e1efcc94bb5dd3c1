/* `neap sim`: runs scenarios of the simulator. What it does is lua/neap/sim/main.lua. */
#include <stdio.h>
#include <string.h>

#include "app/app.h"
#include "base/buf.h"
#include "host/host.h"

/* `text` as a string of Lua, whatever is in it. */
static enum neap_err add_quoted(struct np_buf *b, const char *text)
{
    enum neap_err err = np_buf_append_str(b, "\"");
    for (; *text && !err; text++) {
        char escape[8];
        snprintf(escape, sizeof escape, "\\%03u", (unsigned)(unsigned char)*text);
        err = np_buf_append_str(b, escape);
    }
    return err ? err : np_buf_append_str(b, "\"");
}

static enum neap_err add_field(struct np_buf *b, const char *name, const char *text)
{
    if (!text) return NEAP_OK;
    enum neap_err err = np_buf_append_str(b, name);
    if (!err) err = np_buf_append_str(b, "=");
    if (!err) err = add_quoted(b, text);
    return err ? err : np_buf_append_str(b, ",");
}

static enum neap_err add_flag(struct np_buf *b, const char *name, bool on)
{
    enum neap_err err = np_buf_append_str(b, name);
    return err ? err : np_buf_append_str(b, on ? "=true," : "=false,");
}

/* The call of the command's Lua, with what the command line said. */
static enum neap_err write_code(struct np_buf *b, const struct np_app *app)
{
    const struct np_sim_args *a = &app->sim;
    enum neap_err err = np_buf_append_str(b, "require('neap.sim.main').main({");
    for (int i = 0; i < app->argc && !err; i++) {
        err = add_quoted(b, app->argv[i]);
        if (!err) err = np_buf_append_str(b, ",");
    }
    if (!err) err = np_buf_append_str(b, "},{");
    if (!err) err = add_field(b, "svg", a->svg);
    if (!err) err = add_field(b, "seed", a->seed);
    if (!err) err = add_field(b, "requests", a->requests);
    if (!err) err = add_field(b, "duration", a->duration);
    if (!err) err = add_field(b, "policy", a->policy);
    if (!err) err = add_flag(b, "json", a->json);
    if (!err) err = add_flag(b, "markdown", a->markdown);
    return err ? err : np_buf_append_str(b, "})");
}

int np_cmd_sim(struct np_app *app)
{
    struct np_buf code;
    neap_t *n;
    if (app->argc < 1) {
        return np_app_complain(NP_EXIT_USAGE, "sim: no file given (try: neap help sim)");
    }
    np_buf_init(&code);
    int failed = write_code(&code, app)
                     ? np_app_complain(NP_EXIT_FAILURE, "sim: %s", neap_err_text(NEAP_ENOMEM))
                     : np_app_open(app, app->argv[0], 1, &n);
    if (!failed && neap_load_string(n, np_buf_data(&code), np_buf_len(&code), "sim")) {
        failed = np_app_complain_host(n);
        neap_close(n);
    } else if (!failed) {
        failed = np_app_finish(app, n);
    }
    np_buf_fini(&code);
    return failed;
}
