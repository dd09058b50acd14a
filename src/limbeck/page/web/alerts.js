// The state machine of limbeck_runtime/alerts.py, whose first page describes it step by step; a test plays the same
// sequences to both. Scores are float32, times whole milliseconds, and nothing is computed but comparisons and sums.

export const DAY = 86_400_000;
const NO_DATA_STATE = "no data", NORMAL = "normal", ALERTING = "alert";
export const [DATA, ALERT, OVER, NO_DATA] = ["data", "alert", "over", "no data"];
export const [REFRACTORY, BUDGET] = ["held back: refractory", "held back: budget"];

const DEFAULTS = {
  direction: "above", needed: 1, of: 1, calm: 1, hold_seconds: 0, refractory_seconds: 0, stale_seconds: 0, budget: 0,
};

/** Whole milliseconds, halves to the even one. */
export function milliseconds(seconds) {
  const exact = seconds * 1000;
  if (!(Math.abs(exact) < Number.MAX_SAFE_INTEGER)) throw new Error(`a time of ${seconds} s`);
  const floor = Math.floor(exact);
  const part = exact - floor;
  return part > 0.5 || (part === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

export class Alerts {
  constructor(rule) {
    this.rule = { ...DEFAULTS, ...rule };
    this.enter = Math.fround(rule.enter);
    this.leave = Math.fround(rule.leave);
    this.rising = this.rule.direction === "above";
    this.hold = milliseconds(this.rule.hold_seconds);
    this.refractory = milliseconds(this.rule.refractory_seconds);
    this.stale = milliseconds(this.rule.stale_seconds);
    this.kept = this.rule.of === 32 ? 0xffffffff : (1 << this.rule.of) - 1;
    this.reset();
  }

  reset() {
    this.state = NO_DATA_STATE;
    this.last = null;
    this.votes = this.below = this.since = 0;
    this.quiet = -Infinity;
    this.times = [];
    this.told = false;
  }

  /** Takes one answer's score, null or NaN where there is no data; the events that follow from it. */
  step(time, said, reason = "no score") {
    const now = milliseconds(time);
    if (this.last !== null && now <= this.last) throw new Error(`an answer at ${time} s after one at ${this.last / 1000} s`);
    const events = this.silence(now);
    this.last = now;
    const score = said === null ? NaN : Math.fround(said);
    if (Number.isNaN(score)) return [...events, ...this.lose(now, reason)];
    if (this.state === NO_DATA_STATE) {
      this.state = NORMAL;
      events.push({ time: now / 1000, kind: DATA, reason: "there is data", score });
    }
    const vote = this.reached(score, this.enter);
    this.votes = (((this.votes << 1) | (vote ? 1 : 0)) & this.kept) >>> 0;
    return [...events, ...(this.state === NORMAL ? this.begin(now, score, vote) : this.goOn(now, score))];
  }

  /** What time alone does. */
  passTime(time) {
    return this.silence(milliseconds(time));
  }

  reached(score, limit) {
    return this.rising ? score >= limit : score <= limit;
  }

  silence(now) {
    if (this.last === null || !this.stale || now - this.last <= this.stale) return [];
    return this.lose(this.last + this.stale, `no answer for ${this.stale / 1000} s`);
  }

  lose(now, why) {
    this.votes = 0;
    this.told = false;
    if (this.state === NO_DATA_STATE) return [];
    let reason = why;
    if (this.state === ALERTING) {
      this.end(now);
      reason += "; an alert was on";
    }
    this.state = NO_DATA_STATE;
    return [{ time: now / 1000, kind: NO_DATA, reason, score: NaN }];
  }

  end(now) {
    this.quiet = now + this.refractory;
    this.votes = this.below = 0;
  }

  begin(now, score, vote) {
    const count = bits(this.votes);
    if (count < this.rule.needed) this.told = false;
    if (!vote || count < this.rule.needed) return [];
    const held = this.heldBack(now);
    if (held) {
      const told = this.told;
      this.told = true;
      return told ? [] : [{ time: now / 1000, ...held, score }];
    }
    Object.assign(this, { state: ALERTING, since: now, below: 0, told: false });
    if (this.rule.budget) this.times = [...this.times, now].slice(-this.rule.budget);
    return [{ time: now / 1000, kind: ALERT, reason: `${count} of ${this.rule.of} answers reached the threshold`, score }];
  }

  heldBack(now) {
    if (now < this.quiet) {
      return { kind: REFRACTORY, reason: `the last alert ended less than ${this.refractory / 1000} s ago` };
    }
    const today = this.times.filter((each) => each > now - DAY).length;
    if (this.rule.budget && today >= this.rule.budget) {
      return { kind: BUDGET, reason: `there were ${this.rule.budget} alerts within 24 hours` };
    }
    return null;
  }

  goOn(now, score) {
    this.below = this.reached(score, this.leave) ? 0 : this.below + 1;
    if (this.below < this.rule.calm || now - this.since < this.hold) return [];
    this.end(now);
    this.state = NORMAL;
    return [{ time: now / 1000, kind: OVER, reason: "the score left the threshold", score }];
  }
}

function bits(word) {
  let count = 0;
  for (let left = word; left; left = (left & (left - 1)) >>> 0) count += 1;
  return count;
}
