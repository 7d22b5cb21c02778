// Bytes that grow.

export class Buffer {
  constructor() {
    this.bytes = new Uint8Array();
    this.size = 0;
  }

  append(data) {
    const size = this.size + data.length;
    if (this.size === 0) this.bytes = data; // most chunks come whole
    else {
      if (size > this.bytes.length) {
        // Twice as much: many small pieces are then not copied again and again.
        const wider = new Uint8Array(2 * size);
        wider.set(this.slice(0, this.size));
        this.bytes = wider;
      }
      this.bytes.set(data, this.size);
    }
    this.size = size;
  }

  slice(from, to) {
    return this.bytes.subarray(from, to);
  }
}
