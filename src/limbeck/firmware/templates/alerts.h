/* When an answer becomes an alert: the machine of limbeck_runtime.alerts, step by step the same.
 *
 * A score is compared and never computed with, a time is a whole number of milliseconds: no compiler can round anything
 * another way. Do not compile with -ffast-math, under which NaN is not seen. There is no allocation, and every loop ends
 * after at most LIMBECK_MOST_BUDGET turns.
 */
#ifndef LIMBECK_ALERTS_H
#define LIMBECK_ALERTS_H

#include <stdint.h>

#define LIMBECK_MOST_BUDGET 64
#define LIMBECK_DAY INT64_C(86400000)

/* What a step can say; several are said at once. */
#define LIMBECK_NO_DATA 1u      /* the data ended, at lost_at; an alert that was on is over */
#define LIMBECK_DATA 2u         /* there is data again */
#define LIMBECK_ALERT 4u        /* an alert begins */
#define LIMBECK_OVER 8u         /* the alert is over */
#define LIMBECK_REFRACTORY 16u  /* an alert is held back: the last one ended too short a time ago */
#define LIMBECK_BUDGET 32u      /* an alert is held back: there were enough within 24 hours */
#define LIMBECK_REFUSED 64u     /* the time is not after the last one, or beyond 2^61: nothing changed */

typedef enum { LIMBECK_STATE_NO_DATA, LIMBECK_STATE_NORMAL, LIMBECK_STATE_ALERT } limbeck_state;

typedef struct {
    int rising;         /* 1: high scores alarm; 0: low ones do */
    float enter;        /* the score from which on an answer counts towards an alert */
    float leave;        /* the score at which an alert is still held */
    int needed;         /* so many of the last `of` answers must reach `enter` */
    int of;             /* 1 to 32 */
    int calm;           /* so many answers in a row must not reach `leave` before an alert ends */
    int64_t hold;       /* milliseconds that an alert lasts at least, unless the data ends */
    int64_t refractory; /* milliseconds after an alert in which no other begins */
    int64_t stale;      /* milliseconds without an answer after which there is no data; 0: never */
    int budget;         /* alerts in 24 hours at most, up to LIMBECK_MOST_BUDGET; 0: any number */
} limbeck_rule;

typedef struct {
    limbeck_state state;
    int started;
    int told;
    int below;
    uint32_t votes;
    int64_t last;
    int64_t since;
    int64_t quiet;
    int64_t lost_at;                    /* when the data ended, after LIMBECK_NO_DATA */
    int64_t times[LIMBECK_MOST_BUDGET]; /* when the last alerts began, a ring */
    int count;
    int next;
} limbeck_alerts;

/* Forgets everything: there is no data. */
void limbeck_alerts_reset(limbeck_alerts *alerts);

/* Takes the score of an answer at a time in milliseconds of the signal; NAN where there is none. Says the events. */
unsigned limbeck_alerts_step(const limbeck_rule *rule, limbeck_alerts *alerts, int64_t now, float score);

/* What time alone does: without an answer for `stale` there is no data. Says LIMBECK_NO_DATA or 0. */
unsigned limbeck_alerts_pass_time(const limbeck_rule *rule, limbeck_alerts *alerts, int64_t now);

#endif
