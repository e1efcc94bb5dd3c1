/* `neap run`, `neap eval` and `neap test`. */
#include <stdio.h>

#include "app/app.h"
#include "host/host.h"

int np_cmd_run(struct np_app *app)
{
    if (app->argc < 1) {
        return np_app_complain(NP_EXIT_USAGE, "run: no file given (try: neap help run)");
    }
    const char *file = app->argv[0];
    neap_t *n;
    int code = np_app_open(app, file, 1, &n);
    if (code) return code;
    if (neap_load_file(n, file) != NEAP_OK) {
        return np_app_give_up(app, n, np_app_complain_host(n));
    }
    return app->interactive ? np_repl(app, n) : np_app_finish(app, n);
}

/* Runs a line of Lua, of neap's own, to the end. */
static int run_text(struct np_app *app, const char *code, size_t len, const char *script, int first)
{
    neap_t *n;
    int failed = np_app_open(app, script, first, &n);
    if (failed) return failed;
    if (neap_load_string(n, code, len, app->command) != NEAP_OK) {
        failed = np_app_complain_host(n);
        neap_close(n);
        return failed;
    }
    return np_app_finish(app, n);
}

int np_cmd_eval(struct np_app *app)
{
    static const char code[] = "require('neap.repl.eval').main(arg)";
    if (app->argc < 1) {
        return np_app_complain(NP_EXIT_USAGE, "eval: no code given (try: neap help eval)");
    }
    return run_text(app, code, sizeof code - 1, app->argv[0], 1);
}

int np_cmd_test(struct np_app *app)
{
    char code[128];
    double timeout = 10;
    if (app->timeout && !np_app_parse_seconds(app->timeout, &timeout)) {
        return np_app_complain(NP_EXIT_USAGE, "test: --timeout: not a number of seconds: '%s'",
                               app->timeout);
    }
    int len = snprintf(code, sizeof code,
                       "require('neap.test.runner').main { timeout = %.9g, leak_check = %s }",
                       timeout, app->no_leak_check ? "false" : "true");
    return run_text(app, code, (size_t)len, "neap test", 0);
}
