/** Writes protobuf messages: just the wire types that ONNX uses. */
export class ProtoWriter {
  private bytes = new Uint8Array(256);
  private length = 0;

  int(field: number, value: number | bigint): this {
    this.varint(BigInt(field) << 3n);
    this.varint(BigInt.asUintN(64, BigInt(value)));
    return this;
  }

  float(field: number, value: number): this {
    this.varint((BigInt(field) << 3n) | 5n);
    this.raw(new Uint8Array(Float32Array.of(value).buffer));
    return this;
  }

  string(field: number, value: string): this {
    return this.message(field, new TextEncoder().encode(value));
  }

  message(field: number, value: Uint8Array | ProtoWriter): this {
    const bytes = value instanceof ProtoWriter ? value.finish() : value;
    this.varint((BigInt(field) << 3n) | 2n);
    this.varint(BigInt(bytes.length));
    this.raw(bytes);
    return this;
  }

  finish(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }

  private varint(value: bigint): void {
    let rest = value;
    const encoded: number[] = [];
    do {
      const low = Number(rest & 0x7fn);
      rest >>= 7n;
      encoded.push(rest === 0n ? low : low | 0x80);
    } while (rest !== 0n);
    this.raw(Uint8Array.from(encoded));
  }

  private raw(bytes: Uint8Array): void {
    if (this.length + bytes.length > this.bytes.length) {
      const grown = new Uint8Array(Math.max(this.bytes.length * 2, this.length + bytes.length));
      grown.set(this.finish());
      this.bytes = grown;
    }
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
  }
}
