/* The machine of limbeck_runtime.alerts, whose description is the specification of this file. */

#include "alerts.h"

#define BEYOND (INT64_C(1) << 61)

static int reached(const limbeck_rule *rule, float score, float limit) {
    return rule->rising ? score >= limit : score <= limit;
}

static int bits(uint32_t word) {
    int count = 0;
    for (int place = 0; place < 32; ++place) {
        count += (int)(word >> place & 1u);
    }
    return count;
}

static void end(const limbeck_rule *rule, limbeck_alerts *alerts, int64_t now) {
    alerts->quiet = now + rule->refractory;
    alerts->votes = 0;
    alerts->below = 0;
}

static unsigned lose(const limbeck_rule *rule, limbeck_alerts *alerts, int64_t now) {
    alerts->votes = 0;
    alerts->told = 0;
    if (alerts->state == LIMBECK_STATE_NO_DATA) {
        return 0;
    }
    if (alerts->state == LIMBECK_STATE_ALERT) {
        end(rule, alerts, now);
    }
    alerts->state = LIMBECK_STATE_NO_DATA;
    alerts->lost_at = now;
    return LIMBECK_NO_DATA;
}

static int spent(const limbeck_rule *rule, const limbeck_alerts *alerts, int64_t now) {
    int begun = 0;
    for (int place = 0; place < alerts->count; ++place) {
        begun += alerts->times[place] > now - LIMBECK_DAY;
    }
    return rule->budget > 0 && begun >= rule->budget;
}

static unsigned begin(const limbeck_rule *rule, limbeck_alerts *alerts, int64_t now, int vote) {
    unsigned held = 0;
    if (bits(alerts->votes) < rule->needed) {
        alerts->told = 0;
        return 0;
    }
    if (!vote) {
        return 0;
    }
    if (now < alerts->quiet) {
        held = LIMBECK_REFRACTORY;
    } else if (spent(rule, alerts, now)) {
        held = LIMBECK_BUDGET;
    }
    if (held) {
        held = alerts->told ? 0 : held;
        alerts->told = 1;
        return held;
    }
    alerts->state = LIMBECK_STATE_ALERT;
    alerts->since = now;
    alerts->below = 0;
    alerts->told = 0;
    if (rule->budget > 0) {
        alerts->times[alerts->next] = now;
        alerts->next = (alerts->next + 1) % rule->budget;
        if (alerts->count < rule->budget) {
            ++alerts->count;
        }
    }
    return LIMBECK_ALERT;
}

static unsigned go_on(const limbeck_rule *rule, limbeck_alerts *alerts, int64_t now, float score) {
    alerts->below = reached(rule, score, rule->leave) ? 0 : alerts->below + 1;
    if (alerts->below < rule->calm || now - alerts->since < rule->hold) {
        return 0;
    }
    end(rule, alerts, now);
    alerts->state = LIMBECK_STATE_NORMAL;
    return LIMBECK_OVER;
}

void limbeck_alerts_reset(limbeck_alerts *alerts) {
    alerts->state = LIMBECK_STATE_NO_DATA;
    alerts->started = alerts->told = alerts->below = alerts->count = alerts->next = 0;
    alerts->votes = 0;
    alerts->last = alerts->since = alerts->lost_at = 0;
    alerts->quiet = INT64_MIN;
}

unsigned limbeck_alerts_pass_time(const limbeck_rule *rule, limbeck_alerts *alerts, int64_t now) {
    if (!alerts->started || rule->stale <= 0 || now - alerts->last <= rule->stale) {
        return 0;
    }
    return lose(rule, alerts, alerts->last + rule->stale);
}

unsigned limbeck_alerts_step(const limbeck_rule *rule, limbeck_alerts *alerts, int64_t now, float score) {
    unsigned events;
    int vote;
    if (now <= -BEYOND || now >= BEYOND || (alerts->started && now <= alerts->last)) {
        return LIMBECK_REFUSED;
    }
    events = limbeck_alerts_pass_time(rule, alerts, now);
    alerts->started = 1;
    alerts->last = now;
    if (score != score) {
        return events | lose(rule, alerts, now);
    }
    if (alerts->state == LIMBECK_STATE_NO_DATA) {
        alerts->state = LIMBECK_STATE_NORMAL;
        events |= LIMBECK_DATA;
    }
    vote = reached(rule, score, rule->enter);
    alerts->votes = alerts->votes << 1 | (uint32_t)vote;
    if (rule->of < 32) {
        alerts->votes &= (UINT32_C(1) << rule->of) - 1u;
    }
    if (alerts->state == LIMBECK_STATE_NORMAL) {
        return events | begin(rule, alerts, now, vote);
    }
    return events | go_on(rule, alerts, now, score);
}
