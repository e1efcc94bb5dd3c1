/* What neap.core.http has of forms, cookies and event streams: the parsers, for the Lua modules. */
#ifndef NP_SCRIPT_BIND_FORMS_H
#define NP_SCRIPT_BIND_FORMS_H

#include <lua.h>

/* A piece of input that a parser in a userdata looks at: the string is its first user value. */
struct np_piece {
    const char *p;
    size_t n;
};
/* push(parser, string): the next piece, once the one before was used up. */
void np_piece_push(lua_State *L, struct np_piece *piece);
static inline void np_piece_use(struct np_piece *piece, size_t used)
{
    piece->p += used;
    piece->n -= used;
}

/* Each adds its functions and types to the module table on top of the stack. */
void np_http_add_multipart(lua_State *L);
void np_http_add_cookie(lua_State *L);
void np_http_add_events(lua_State *L);
void np_http_add_upload(lua_State *L);

#endif
