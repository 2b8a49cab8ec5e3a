// What the server says has changed, at once; a slow poll beside it notices what no commit tells (a process that died).

const POLL = 4000; // milliseconds
const LEAST = 350; // milliseconds between two refreshes

export class Live {
  /** refresh: an async function that reads and shows everything; status: is told "live" or "lost". */
  constructor({ refresh, status }) {
    this.refresh = refresh;
    this.status = status;
    this.run = null;
    this.busy = false;
    this.again = false;
    this.last = 0;
    this.took = 0;
    setInterval(() => this.ask(), POLL);
    document.addEventListener("visibilitychange", () => document.hidden || this.ask());
  }

  /** Follow one run, or all of them with null. */
  follow(run) {
    if (this.source && this.run === run && this.source.readyState !== EventSource.CLOSED) return;
    this.source?.close();
    this.run = run;
    this.source = new EventSource(run === null ? "/api/live" : `/api/live?run=${encodeURIComponent(run)}`);
    this.source.addEventListener("change", () => this.ask());
    this.source.addEventListener("listening", () => this.ask()); // from here on changes are told
    this.source.onerror = () => {
      if (this.source.readyState === EventSource.CLOSED) setTimeout(() => this.follow(this.run), 2000);
      this.ask();
    };
  }

  /** Refresh soon, or at once: never two at a time, and never without one after the last change. */
  async ask(atOnce = false) {
    if (document.hidden) return;
    if (this.busy) { this.again = true; return; }
    this.busy = true;
    if (!atOnce) await new Promise((done) => setTimeout(done, Math.max(0, this.last + Math.max(LEAST, this.took) - Date.now())));
    const began = Date.now();
    try {
      await this.refresh();
      this.status(this.source?.readyState === EventSource.OPEN ? "live" : "polling");
    } catch (error) {
      this.status("lost", error);
    }
    this.busy = false;
    this.last = Date.now();
    this.took = this.last - began; // what takes long is asked for less often
    if (this.again) { this.again = false; this.ask(); }
  }
}
