/* Numbers as text: the shortest that reads back as the same. C++ for std::to_chars, which needs no
 * locale and knows the shortest form. Pure functions. */
#include <charconv>
#include <cstring>

#include "script/json.h"

extern "C" size_t np_json_format_double(char *out, double v)
{
    char *end = std::to_chars(out, out + 30, v).ptr;
    size_t n = (size_t)(end - out);
    if (!memchr(out, '.', n) && !memchr(out, 'e', n)) {
        memcpy(end, ".0", 2);
        n += 2;
    }
    return n;
}

extern "C" size_t np_json_format_int(char *out, long long v)
{
    return (size_t)(std::to_chars(out, out + 32, v).ptr - out);
}
