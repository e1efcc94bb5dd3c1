#include "app/app.h"
int np_repl(struct np_app *app, neap_t *n)
{
    (void)app;
    (void)n;
    return 0;
}
int np_cmd_repl(struct np_app *app)
{
    (void)app;
    return 0;
}
