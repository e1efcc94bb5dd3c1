/* `neap run` and `neap eval`. */
#include <string.h>

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
        code = np_app_complain_host(n);
        neap_close(n);
        return code;
    }
    if (!app->interactive) return np_app_finish(n);
    code = np_repl(app, n);
    neap_close(n);
    return code;
}

/* The code is the first argument; what it gives is printed by the REPL's printer. */
static const char eval[] = "require('neap.repl.eval').main(arg)";

int np_cmd_eval(struct np_app *app)
{
    if (app->argc < 1) {
        return np_app_complain(NP_EXIT_USAGE, "eval: no code given (try: neap help eval)");
    }
    neap_t *n;
    int code = np_app_open(app, app->argv[0], 1, &n);
    if (code) return code;
    if (neap_load_string(n, eval, sizeof eval - 1, "eval") != NEAP_OK) {
        code = np_app_complain_host(n);
        neap_close(n);
        return code;
    }
    return np_app_finish(n);
}

static const char test[] = "require('neap.test.runner').main(...)";

int np_cmd_test(struct np_app *app)
{
    neap_t *n;
    int code = np_app_open(app, "neap test", 0, &n);
    if (code) return code;
    (void)test;
    neap_close(n);
    return 0;
}
