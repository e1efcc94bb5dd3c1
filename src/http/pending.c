/* Stands in until the server and the client do. */
#include <stdlib.h>
void np_http_abort(void);
__attribute__((weak)) void np_http_abort(void) { abort(); }
void np_http_body_start(void);
__attribute__((weak)) void np_http_body_start(void) { abort(); }
void np_http_body_stop(void);
__attribute__((weak)) void np_http_body_stop(void) { abort(); }
void np_http_call_arg(void);
__attribute__((weak)) void np_http_call_arg(void) { abort(); }
void np_http_call_cancel(void);
__attribute__((weak)) void np_http_call_cancel(void) { abort(); }
void np_http_call_finish(void);
__attribute__((weak)) void np_http_call_finish(void) { abort(); }
void np_http_call_pause(void);
__attribute__((weak)) void np_http_call_pause(void) { abort(); }
void np_http_call_writable(void);
__attribute__((weak)) void np_http_call_writable(void) { abort(); }
void np_http_call_write(void);
__attribute__((weak)) void np_http_call_write(void) { abort(); }
void np_http_client_call(void);
__attribute__((weak)) void np_http_client_call(void) { abort(); }
void np_http_client_close(void);
__attribute__((weak)) void np_http_client_close(void) { abort(); }
void np_http_client_get_stats(void);
__attribute__((weak)) void np_http_client_get_stats(void) { abort(); }
void np_http_client_new(void);
__attribute__((weak)) void np_http_client_new(void) { abort(); }
void np_http_client_options_init(void);
__attribute__((weak)) void np_http_client_options_init(void) { abort(); }
void np_http_exchange_peer(void);
__attribute__((weak)) void np_http_exchange_peer(void) { abort(); }
void np_http_finish(void);
__attribute__((weak)) void np_http_finish(void) { abort(); }
void np_http_respond(void);
__attribute__((weak)) void np_http_respond(void) { abort(); }
void np_http_server_address(void);
__attribute__((weak)) void np_http_server_address(void) { abort(); }
void np_http_server_arg(void);
__attribute__((weak)) void np_http_server_arg(void) { abort(); }
void np_http_server_close(void);
__attribute__((weak)) void np_http_server_close(void) { abort(); }
void np_http_server_connections(void);
__attribute__((weak)) void np_http_server_connections(void) { abort(); }
void np_http_server_listen(void);
__attribute__((weak)) void np_http_server_listen(void) { abort(); }
void np_http_server_listen_unix(void);
__attribute__((weak)) void np_http_server_listen_unix(void) { abort(); }
void np_http_server_new(void);
__attribute__((weak)) void np_http_server_new(void) { abort(); }
void np_http_server_options_init(void);
__attribute__((weak)) void np_http_server_options_init(void) { abort(); }
void np_http_server_port(void);
__attribute__((weak)) void np_http_server_port(void) { abort(); }
void np_http_start(void);
__attribute__((weak)) void np_http_start(void) { abort(); }
void np_http_writable(void);
__attribute__((weak)) void np_http_writable(void) { abort(); }
void np_http_write(void);
__attribute__((weak)) void np_http_write(void) { abort(); }
