// How long something took, as people read it.

/** Rounded down: `3.2s`, `18m05s`, `1h02m`; without `tenths` `3s`. `pipeline/durations.py` does the same. */
export function formatElapsed(milliseconds, tenths = true) {
  const count = Math.max(0, Math.trunc(milliseconds));
  const seconds = Math.floor(count / 1000);
  const two = (number) => String(number).padStart(2, "0");
  if (seconds < 60) return tenths ? `${seconds}.${Math.floor((count % 1000) / 100)}s` : `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m${two(seconds % 60)}s`;
  return `${Math.floor(seconds / 3600)}h${two(Math.floor((seconds % 3600) / 60))}m`;
}
