/* Drives alerts.c from lines: r (a rule), s (a step), p (time passes). Says events, when data was lost, and the state. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "alerts.h"

static float from_bits(uint32_t bits) {
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

int main(void) {
    limbeck_rule rule;
    limbeck_alerts alerts;
    char kind;
    memset(&rule, 0, sizeof rule);
    while (scanf(" %c", &kind) == 1) {
        if (kind == 'r') {
            uint32_t enter, leave;
            if (scanf("%d %" SCNu32 " %" SCNu32 " %d %d %d %" SCNd64 " %" SCNd64 " %" SCNd64 " %d", &rule.rising, &enter,
                      &leave, &rule.needed, &rule.of, &rule.calm, &rule.hold, &rule.refractory, &rule.stale,
                      &rule.budget) != 10) {
                return 2;
            }
            rule.enter = from_bits(enter);
            rule.leave = from_bits(leave);
            /* What lay there before must not matter. */
            memset(&alerts, 0xA5, sizeof alerts);
            limbeck_alerts_reset(&alerts);
        } else {
            int64_t now;
            uint32_t score = 0;
            unsigned events;
            if (scanf("%" SCNd64, &now) != 1 || (kind == 's' && scanf("%" SCNu32, &score) != 1)) {
                return 2;
            }
            events = kind == 's' ? limbeck_alerts_step(&rule, &alerts, now, from_bits(score))
                                 : limbeck_alerts_pass_time(&rule, &alerts, now);
            printf("%u %" PRId64 " %d\n", events, events & LIMBECK_NO_DATA ? alerts.lost_at : 0, (int)alerts.state);
        }
    }
    return 0;
}
