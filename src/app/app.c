/* Finding the command, reading its options, helping. */
#include "app/app.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int np_app_complain(int code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("neap: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    return code;
}

int np_app_complain_host(neap_t *n)
{
    fflush(stdout);
    return np_app_complain(NP_EXIT_FAILURE, "%s", neap_error(n));
}

static const struct np_command *find_command(const char *name)
{
    for (const struct np_command *c = np_commands; c->name; c++) {
        if (strcmp(c->name, name) == 0) return c;
    }
    return NULL;
}

/* --- help */

static void print_overview(FILE *out)
{
    fputs("usage: neap COMMAND [OPTIONS] [ARGS]\n\n", out);
    for (const struct np_command *c = np_commands; c->name; c++) {
        fprintf(out, "  neap %s%s%-*s%s\n", c->name, c->usage[0] ? " " : "",
                (int)(24 - strlen(c->name) - (c->usage[0] ? 1 : 0)), c->usage, c->summary);
    }
    fputs("\nneap help COMMAND says what a command takes.\n", out);
}

static void print_help(const struct np_command *c)
{
    printf("usage: neap %s%s%s%s\n\n%s\n", c->name, c->options[1].name ? " [OPTIONS]" : "",
           c->usage[0] ? " " : "", c->usage, c->details ? c->details : c->summary);
    fputs(c->details ? "" : "\n", stdout);
    for (const struct np_option *o = c->options; o->name; o++) {
        char left[64];
        snprintf(left, sizeof left, "%s%s%s%s%s", o->brief ? o->brief : "", o->brief ? ", " : "",
                 o->name, o->value ? " " : "", o->value ? o->value : "");
        printf("  %-31s%s\n", left, o->text);
    }
}

static int unknown_command(const char *name)
{
    return np_app_complain(NP_EXIT_USAGE, "unknown command '%s' (try: neap help)", name);
}

static int help(struct np_app *app)
{
    if (app->argc == 0) {
        print_overview(stdout);
        return 0;
    }
    const struct np_command *c = find_command(app->argv[0]);
    if (!c) return unknown_command(app->argv[0]);
    print_help(c);
    return 0;
}

/* --- options */

static bool matches(const struct np_option *o, const char *arg, const char **inline_value)
{
    size_t n = strlen(o->name);
    *inline_value = NULL;
    if (strcmp(arg, o->name) == 0 || (o->brief && strcmp(arg, o->brief) == 0)) return true;
    if (!o->value || strncmp(arg, o->name, n) != 0 || arg[n] != '=') return false;
    *inline_value = arg + n + 1;
    return true;
}

static const struct np_option *find_option(const struct np_command *c, const char *arg,
                                           const char **inline_value)
{
    for (const struct np_option *o = c->options; o->name; o++) {
        if (matches(o, arg, inline_value)) return o;
    }
    return NULL;
}

static void set_option(struct np_app *app, const struct np_option *o, const char *value)
{
    char *field = (char *)app + o->offset;
    if (o->value) {
        memcpy(field, &value, sizeof value);
    } else {
        *(bool *)field = true;
    }
}

/* Takes what stands before the first argument that is no option; for a command that passes unknown
 * options on, what it knows among all arguments up to "--". What is left moves to the front. */
static int read_options(struct np_app *app, const struct np_command *c)
{
    int kept = 0;
    int i = 0;
    for (; i < app->argc; i++) {
        char *arg = app->argv[i];
        const char *value;
        if (strcmp(arg, "--") == 0) {
            i++;
            break;
        }
        if (arg[0] != '-' || arg[1] == '\0') {
            if (!c->passes_unknown) break;
            app->argv[kept++] = arg;
            continue;
        }
        const struct np_option *o = find_option(c, arg, &value);
        if (!o && !c->passes_unknown) {
            return np_app_complain(NP_EXIT_USAGE, "%s: unknown option '%s' (try: neap help %s)",
                                   c->name, arg, c->name);
        }
        if (!o) {
            app->argv[kept++] = arg;
            continue;
        }
        if (o->value && !value) {
            if (i + 1 == app->argc) {
                return np_app_complain(NP_EXIT_USAGE, "%s: option %s wants a value (%s)", c->name,
                                       o->name, o->value);
            }
            value = app->argv[++i];
        }
        set_option(app, o, value);
    }
    while (i < app->argc) {
        app->argv[kept++] = app->argv[i++];
    }
    app->argc = kept;
    return 0;
}

int np_app_main(int argc, char **argv)
{
    struct np_app app = {.program = argc > 0 ? argv[0] : "neap"};
    if (argc < 2) {
        print_overview(stderr);
        return NP_EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
    if (strcmp(name, "--version") == 0 || strcmp(name, "-v") == 0) name = "version";
    const struct np_command *c = find_command(name);
    if (!c) return unknown_command(name);
    app.command = c->name;
    app.argc = argc - 2;
    app.argv = argv + 2;
    int code = read_options(&app, c);
    if (code) return code;
    if (app.help) {
        print_help(c);
        return 0;
    }
    if (c->run) return c->run(&app);
    if (strcmp(c->name, "help") == 0) return help(&app);
    printf("neap %s\n", NEAP_VERSION);
    return 0;
}
