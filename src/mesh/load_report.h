/* What an endpoint says of its load in an answer's header "endpoint-load-metrics": Open Request
 * Cost Aggregation (ORCA), as Envoy reads it.
 *
 *   TEXT cpu_utilization=0.3, rps_fractional=120.5, eps=2
 *   JSON {"application_utilization": 0.8, "rps_fractional": 120}
 *
 * The word before may be missing. Pure functions, any thread.
 */
#ifndef NP_MESH_LOAD_REPORT_H
#define NP_MESH_LOAD_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#define NP_LOAD_REPORT_MAX 4096 /* bytes; a longer one says nothing */

struct np_load_report {
    double qps; /* rps_fractional, or rps */
    double eps; /* errors a second */
    double
        utilization; /* application_utilization, or, where that is not above 0, cpu_utilization */
};

/* False, and nothing is written, where it says nothing about requests and utilization. Names that
 * are not known are passed over, numbers below 0 are none. */
bool np_load_report_parse(const char *text, size_t n, struct np_load_report *out);

#endif
