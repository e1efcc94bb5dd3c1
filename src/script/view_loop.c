/* Views on loops; see view_loop.h.
 *
 * One post is under way at a time. It may still be so when the view is freed: then it frees the
 * rest.
 */
#include "script/view_loop.h"

#include "base/alloc.h"

struct view_loop {
    struct np_post post;
    struct np_loop *loop;
    struct np_registry_view *view; /* NULL once it is freed */
    atomic_bool queued;
};

static void on_post(struct np_post *p, struct np_loop *loop)
{
    struct view_loop *vl = np_container_of(p, struct view_loop, post);
    (void)loop;
    atomic_store(&vl->queued, false);
    if (vl->view) {
        np_registry_view_dispatch(vl->view);
    } else {
        np_free(vl);
    }
}

/* Any thread, under the registry's lock. */
static void wake(void *arg)
{
    struct view_loop *vl = arg;
    if (!atomic_exchange(&vl->queued, true)) np_loop_post(vl->loop, &vl->post);
}

enum neap_err np_view_loop_new(struct np_registry *r, struct np_loop *loop,
                               struct np_registry_view **out)
{
    struct view_loop *vl = np_calloc(1, sizeof *vl);
    if (!vl) return NEAP_ENOMEM;
    vl->loop = loop;
    vl->post.fn = on_post;
    enum neap_err err = np_registry_view_new(r, wake, vl, &vl->view);
    if (err) {
        np_free(vl);
        return err;
    }
    *out = vl->view;
    return NEAP_OK;
}

void np_view_loop_free(struct np_registry_view *v)
{
    if (!v) return;
    struct view_loop *vl = np_registry_view_arg(v);
    np_registry_view_free(v); /* nobody wakes it after this */
    vl->view = NULL;
    if (!atomic_load(&vl->queued)) np_free(vl);
}
