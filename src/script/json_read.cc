/* JSON text to Lua values, by simdjson's DOM parser. See json.h.
 *
 * Every Lua call here may leave by longjmp, so no C++ object with a destructor is on the stack: the
 * parser lives in a userdata, and elements, arrays and objects are plain views of its tape. A
 * finalizer that runs in the middle of a conversion may decode too; it then finds the parser busy
 * and gets one of its own, as does whoever comes after a conversion that was left by an error.
 */
#include <cstring>
#include <new>
#include <type_traits>

#include <simdjson.h>

extern "C" {
#include <lauxlib.h>
#include <lua.h>
}

extern "C" {
#include "script/json.h"
#include "script/luax.h"
}

using simdjson::dom::element;
using simdjson::dom::element_type;

namespace
{

static_assert(std::is_trivially_destructible<element>::value, "crossed by longjmp");
static_assert(std::is_trivially_destructible<simdjson::simdjson_result<element>>::value,
              "crossed by longjmp");
static_assert(std::is_trivially_destructible<simdjson::dom::array::iterator>::value,
              "crossed by longjmp");
static_assert(std::is_trivially_destructible<simdjson::dom::object::iterator>::value,
              "crossed by longjmp");

constexpr size_t MIN_CAPACITY = 4096;
constexpr size_t KEEP_CAPACITY = 1 << 20; // a parser that grew larger is not kept

struct box {
    simdjson::dom::parser *parser;
    bool busy;
};
const char box_key = 0;

int box_gc(lua_State *L)
{
    auto *b = static_cast<box *>(lua_touserdata(L, 1));
    delete b->parser;
    b->parser = nullptr;
    return 0;
}

box *box_new(lua_State *L)
{
    auto *b = static_cast<box *>(lua_newuserdatauv(L, sizeof(box), 0));
    b->parser = nullptr;
    b->busy = false;
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, box_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &box_key);
    return b;
}

// Pushes the state's parser, or a new one when that is in use.
box *box_take(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &box_key);
    auto *b = static_cast<box *>(lua_touserdata(L, -1));
    if (b && !b->busy) return b;
    lua_pop(L, 1);
    return box_new(L);
}

void push_array(lua_State *L, simdjson::dom::array a);
void push_object(lua_State *L, simdjson::dom::object o);

void push_element(lua_State *L, element e)
{
    switch (e.type()) {
    case element_type::ARRAY:
        push_array(L, e.get_array().value_unsafe());
        break;
    case element_type::OBJECT:
        push_object(L, e.get_object().value_unsafe());
        break;
    case element_type::STRING:
        lua_pushlstring(L, e.get_c_str().value_unsafe(), e.get_string_length().value_unsafe());
        break;
    case element_type::INT64:
        lua_pushinteger(L, (lua_Integer)e.get_int64().value_unsafe());
        break;
    case element_type::UINT64: // does not fit a Lua integer: as Lua reads such a literal
        lua_pushnumber(L, (lua_Number)e.get_uint64().value_unsafe());
        break;
    case element_type::DOUBLE:
        lua_pushnumber(L, e.get_double().value_unsafe());
        break;
    case element_type::BOOL:
        lua_pushboolean(L, e.get_bool().value_unsafe());
        break;
    default:
        np_json_push_null(L);
        break;
    }
}

void push_array(lua_State *L, simdjson::dom::array a)
{
    size_t n = a.size();
    luaL_checkstack(L, 4, "JSON");
    lua_createtable(L, (int)n, 0);
    if (n == 0) {
        np_json_push_array_meta(L);
        lua_setmetatable(L, -2);
        return;
    }
    lua_Integer i = 0;
    for (element e : a) {
        push_element(L, e);
        lua_rawseti(L, -2, ++i);
    }
}

void push_object(lua_State *L, simdjson::dom::object o)
{
    luaL_checkstack(L, 4, "JSON");
    lua_createtable(L, 0, (int)o.size());
    for (auto it = o.begin(); it != o.end(); ++it) {
        lua_pushlstring(L, it.key_c_str(), it.key_length());
        push_element(L, it.value());
        lua_rawset(L, -3);
    }
}

size_t capacity_for(size_t n)
{
    size_t capacity = MIN_CAPACITY;
    while (capacity < n)
        capacity *= 2;
    return capacity;
}

simdjson::error_code parse(box *b, const char *text, size_t n, size_t max_depth, element *out)
{
    // A byte order mark is no JSON: simdjson 3.0 refuses it, later ones would skip it.
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) return simdjson::TAPE_ERROR;
    if (!b->parser) b->parser = new (std::nothrow) simdjson::dom::parser;
    if (!b->parser) return simdjson::MEMALLOC;
    if (b->parser->capacity() < n || b->parser->max_depth() != max_depth ||
        !b->parser->capacity()) {
        size_t capacity = capacity_for(n);
        if (capacity < b->parser->capacity()) capacity = b->parser->capacity();
        auto err = b->parser->allocate(capacity, max_depth);
        if (err) return err;
    }
    return b->parser->parse(text, n).get(*out);
}

enum neap_err refuse(lua_State *L, simdjson::error_code err, const char *text, size_t n,
                     size_t max_depth)
{
    if (err == simdjson::MEMALLOC) {
        np_push_error(L, NEAP_ENOMEM, nullptr);
        return NEAP_ENOMEM;
    }
    struct np_json_problem p = {0, 0, 0, nullptr, false};
    if (!np_json_locate(text, n, max_depth, &p)) {
        np_push_error(L, NEAP_EINVAL, "JSON: %s", simdjson::error_message(err));
        return NEAP_EINVAL;
    }
    enum neap_err code = p.too_deep ? NEAP_ELIMIT : NEAP_EINVAL;
    np_push_error(L, code, "JSON: %s at line %zu, column %zu (byte %zu)", p.what, p.line, p.column,
                  p.offset + 1);
    lua_pushinteger(L, (lua_Integer)p.offset + 1);
    lua_setfield(L, -2, "position");
    return code;
}

} // namespace

extern "C" enum neap_err np_json_decode_to(lua_State *L, const char *text, size_t n,
                                           const struct np_json_read_options *opts)
{
    struct np_json_read_options defaults = NP_JSON_READ_OPTIONS_INIT;
    if (!opts) opts = &defaults;
    if (n > opts->max_size) {
        np_push_error(L, NEAP_ELIMIT, "JSON: %zu bytes are more than max_size, %zu", n,
                      opts->max_size);
        return NEAP_ELIMIT;
    }
    box *b = box_take(L);
    int at = lua_gettop(L);
    b->busy = true;
    element root;
    auto err = parse(b, text, n, opts->max_depth, &root);
    enum neap_err result = NEAP_OK;
    if (err) {
        result = refuse(L, err, text, n, opts->max_depth);
    } else {
        push_element(L, root);
    }
    b->busy = false;
    if (b->parser && b->parser->capacity() > KEEP_CAPACITY) {
        delete b->parser;
        b->parser = nullptr;
    }
    lua_remove(L, at);
    return result;
}
