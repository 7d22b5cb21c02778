// Bytes of a job's log: any range of what is there, and what comes, resumed where a connection broke off.

const RETRY = [200, 500, 1000, 2000, 5000];
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

export class LogBytes {
  /** `address` is that of the stream endpoint. */
  constructor(address) {
    this.address = address;
  }

  /** The bytes from `start` to `end`, as far as they are there. Tries again until it has them. */
  async range(start, end) {
    if (end <= start) return new Uint8Array();
    for (let failures = 0; ; failures++) {
      try {
        const response = await fetch(this.address, { headers: { Range: `bytes=${start}-${end - 1}` } });
        if (response.status === 206) return new Uint8Array(await response.arrayBuffer());
        if (response.status < 500) throw new Refused(await response.text());
      } catch (error) {
        if (error instanceof Refused) throw error;
      }
      await pause(RETRY[Math.min(failures, RETRY.length - 1)]);
    }
  }

  /**
   * Gives `receive` every byte from `offset` on, once and in order, until the build ends. `signal` ends it
   * before; the offset to go on from is returned in both cases. `state` is told of broken connections.
   */
  async follow(offset, receive, signal, state) {
    for (let failures = 0; !signal.aborted; failures++) {
      try {
        const response = await fetch(`${this.address}?follow=true&offset=${offset}`, { signal });
        if (response.status >= 400 && response.status < 500) throw new Refused(await response.text());
        if (!response.ok) throw new Error(response.statusText);
        state(true);
        const reader = response.body.getReader();
        for (;;) {
          const { done, value } = await reader.read();
          if (done) return offset;
          offset += value.length;
          failures = 0;
          receive(value);
        }
      } catch (error) {
        if (error instanceof Refused) throw error;
        if (signal.aborted) break;
        state(false);
        await pause(RETRY[Math.min(failures, RETRY.length - 1)]);
      }
    }
    return offset;
  }
}

/** The server's answer is that it will not, in its own words. */
export class Refused extends Error {}
