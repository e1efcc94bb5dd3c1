/* The commands and their options, as `neap help` shows them. */
#include <stddef.h>

#include "app/app.h"

#define TEXT(name, value, help, field)                          \
    {                                                           \
        name, NULL, value, help, offsetof(struct np_app, field) \
    }
#define LOG_OPTIONS                                                                        \
    TEXT("--log-level", "LEVEL", "trace, debug, info, warn, error or off (default info)",  \
         log_level),                                                                       \
        TEXT("--log-format", "FORMAT", "text, json or auto: text on a terminal (default)", \
             log_format)
#define DRAIN_OPTION                                                                               \
    TEXT("--drain-timeout", "SECONDS", "how long a stop waits for what is in flight (default 30)", \
         drain_timeout)
#define WORKER_OPTIONS                                                                            \
    TEXT("--workers", "N", "threads that run the script, or \"auto\": one a core (default 1)",    \
         workers),                                                                                \
        TEXT("--threads", "N", "at most so many for neap.thread (default: one a core)", threads), \
    {                                                                                             \
        "--hand-out", NULL, NULL,                                                                 \
            "one socket for all workers: a connection goes to the one that has fewest",           \
            offsetof(struct np_app, hand_out)                                                     \
    }
#define SCRIPT_TIMEOUT(help) TEXT("--script-timeout", "SECONDS", help, script_timeout)
#define SCRIPT_OPTIONS                                                                             \
    SCRIPT_TIMEOUT("how long a script may keep its loop (default 1, 0: for ever)"),                \
        TEXT("--load-timeout", "SECONDS", "the same while the file loads (default 10)",            \
             load_timeout),                                                                        \
        TEXT("--script-hard-timeout", "SECONDS",                                                   \
             "end the process when a script keeps on for so long (default: never)", hard_timeout), \
        TEXT("--script-memory", "BYTES", "what the Lua state of a worker may take (default 512m)", \
             script_memory)
#define SANDBOX_OPTIONS                                                        \
    {"--sandbox", NULL, NULL,                                                  \
     "the script reaches no files, processes, C modules, and no network but:", \
     offsetof(struct np_app, sandbox)},                                        \
        TEXT("--allow-net", "LIST",                                            \
             "connect to these only: host:port,*.example.com:443,10.0.0.0/8:*", allow_net)
#define SERVICE_OPTIONS                                                                           \
    {"--watch", NULL, NULL, "reload when the script or a module of its changes",                  \
     offsetof(struct np_app, watch)},                                                             \
        TEXT("--log-file", "FILE", "log there; opened anew at SIGUSR1", log_file),                \
        TEXT("--pid-file", "FILE", "write the process's number there, once it serves", pid_file), \
        TEXT("--user", "NAME", "become this user once the ports are bound", user),                \
        TEXT("--group", "NAME", "… and this group (default: the user's)", group),                 \
        TEXT("--chdir", "DIR", "go there first; FILE and other names are looked for there",       \
             directory)
#define HELP_OPTION                                                                \
    {                                                                              \
        "--help", "-h", NULL, "print this and exit", offsetof(struct np_app, help) \
    }
#define END_OF_OPTIONS            \
    {                             \
        NULL, NULL, NULL, NULL, 0 \
    }

static const struct np_option run_options[] = {{"--interactive", "-i", NULL,
                                                "go on with a REPL after the file has been started",
                                                offsetof(struct np_app, interactive)},
                                               WORKER_OPTIONS,
                                               SCRIPT_OPTIONS,
                                               SANDBOX_OPTIONS,
                                               DRAIN_OPTION,
                                               SERVICE_OPTIONS,
                                               LOG_OPTIONS,
                                               HELP_OPTION,
                                               END_OF_OPTIONS};

static const struct np_option eval_options[] = {LOG_OPTIONS, HELP_OPTION, END_OF_OPTIONS};

static const struct np_option repl_options[] = {TEXT("--load", "FILE", "run this file first", load),
                                                LOG_OPTIONS, HELP_OPTION, END_OF_OPTIONS};

static const struct np_option test_options[] = {
    TEXT("--timeout", "SECONDS", "what a test may take (default 10, 0: no bound)", timeout),
    {"--no-leak-check", NULL, NULL, "do not fail tests that leave something open",
     offsetof(struct np_app, no_leak_check)},
    SCRIPT_TIMEOUT("how long a script may keep the loop (default: for ever)"),
    LOG_OPTIONS,
    HELP_OPTION,
    END_OF_OPTIONS};

static const struct np_option cert_options[] = {
    TEXT("--out", "DIR", "write there (default: the working directory; `ca`: --ca)", cert.out),
    TEXT("--ca", "DIR", "the authority's (default: $XDG_DATA_HOME/neap/ca)", cert.ca),
    TEXT("--days", "N", "how long it is good (default 397, `ca` 3650, `crl` 30)", cert.days),
    TEXT("--key", "KIND", "p256 (default), p384, ed25519, rsa2048, rsa3072 or rsa4096", cert.key),
    TEXT("--name", "TEXT", "the subject's common name (default: the first NAME)", cert.name),
    TEXT("--organization", "TEXT", "the subject's organization", cert.organization),
    TEXT("--spiffe", "URI", "also for this SPIFFE ID, as spiffe://example.org/billing",
         cert.spiffe),
    {"--mutual", NULL, NULL, "`server`: good for clients too, as in a mesh",
     offsetof(struct np_app, cert.mutual)},
    TEXT("--p12", "PASSWORD", "`client`: a .p12 as well, for browsers to import", cert.p12),
    {"--revoke", NULL, NULL, "`crl`: put the certificates FILE… on the list",
     offsetof(struct np_app, cert.revoke)},
    {"--force", NULL, NULL, "replace files that are there", offsetof(struct np_app, cert.force)},
    HELP_OPTION,
    END_OF_OPTIONS};

static const struct np_option sim_options[] = {
    TEXT("--policy", "NAMES", "only these of its policies, or others by name: default,p2c",
         sim.policy),
    TEXT("--seed", "N", "another seed (default: the scenario's, 1)", sim.seed),
    TEXT("--requests", "N", "end after so many requests", sim.requests),
    TEXT("--duration", "SECONDS", "of the virtual clock (default: the scenario's, 60)",
         sim.duration),
    TEXT("--svg", "DIR", "draw there latency over time, and the load of each endpoint", sim.svg),
    {"--json", NULL, NULL, "print the results, with their time series, as JSON",
     offsetof(struct np_app, sim.json)},
    {"--markdown", NULL, NULL, "print the table as Markdown",
     offsetof(struct np_app, sim.markdown)},
    LOG_OPTIONS,
    HELP_OPTION,
    END_OF_OPTIONS};

static const struct np_option no_options[] = {HELP_OPTION, END_OF_OPTIONS};

const struct np_command np_commands[] = {
    {"run", "FILE [ARGS]", "run a service script",
     "Runs the Lua file (\"-\": standard input) until nothing is left to do. ARGS are in `arg` "
     "and\n"
     "`...`. SIGINT and SIGTERM end it in good order: listeners close, what is in flight is\n"
     "finished; a second signal ends it at once. SIGHUP loads the file anew, beside what runs.\n"
     "Exit code: 0, or 1 when the script failed; 130 or 143 when a signal broke it off.\n"
     "NEAP_LUA_PATH: a directory whose neap/….lua stand before the built-in library.\n",
     run_options, false, np_cmd_run},
    {"eval", "CODE [ARGS]", "run a line of Lua and print what it gives", NULL, eval_options, false,
     np_cmd_eval},
    {"repl", "", "type Lua on a live loop",
     "Each line runs as a task: it may wait, and meanwhile timers and servers go on. Ctrl-C ends\n"
     "the line that runs, Ctrl-D the REPL. Lines are kept in $XDG_STATE_HOME/neap/history.\n",
     repl_options, false, np_cmd_repl},
    {"test", "[PATHS]", "run specs with busted, every test a task",
     "Other options are busted's: --filter=PATTERN, --tags=TAGS, -o HANDLER … (neap test -- "
     "--help\n"
     "lists them). A test fails when it leaves tasks, handles or references behind.\n",
     test_options, true, np_cmd_test},
    {"cert", "WHAT [NAMES]", "make certificates for development",
     "  neap cert localhost             a certificate for localhost, 127.0.0.1 and ::1\n"
     "  neap cert server NAME…          … for names, *.names, addresses, URIs\n"
     "  neap cert client NAME…          … that a client shows\n"
     "  neap cert ca                    the authority that signs them; made when it is missing\n"
     "  neap cert crl --revoke FILE…    its list of revoked certificates, issued anew\n"
     "  neap cert show FILE…            what is in certificates, keys and lists\n"
     "Files that are there stay as they are without --force. Keys are readable to you alone.\n",
     cert_options, true, np_cmd_cert},
    {"sim", "FILE…", "run policies against a cluster that exists on paper",
     "FILE returns a scenario: endpoints, their faults, who comes when, and policies. Each policy\n"
     "meets the same users; a run is the same for its seed. Latencies are of all requests, where\n"
     "one that failed counts as the timeout. ejected: rightly/wrongly. See docs/simulator.md.\n",
     sim_options, false, np_cmd_sim},
    {"version", "", "print the version", NULL, no_options, false, NULL},
    {"help", "[COMMAND]", "print this, or what a command takes", NULL, no_options, false, NULL},
    {NULL, NULL, NULL, NULL, NULL, false, NULL}};
