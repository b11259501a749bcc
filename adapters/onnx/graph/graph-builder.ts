import { ELEMENT_TYPES, type ElementType } from '../ort.ts';
import { ProtoWriter } from './protobuf.ts';

/** A value inside a graph, by name. */
export type Value = string;

/** A dimension: a number, or the name of a size known at run time only. */
export type Dim = number | string;

export type Attribute =
  | number
  | string
  | readonly number[]
  | GraphBuilder
  | { readonly float: number };

/** A tensor the graph declares and whose memory is bound when the session is created. */
export interface Weight {
  readonly name: string;
  readonly type: ElementType;
  readonly dims: readonly number[];
  /** ONNX Runtime keeps its own rearranged copy, so the original is dead weight afterwards. */
  readonly isPrepacked: boolean;
}

/** Weights that are made together, in one pass over what is stored. */
export interface WeightBlock {
  readonly weights: readonly Weight[];
  /** Fills the weights' memory, in their order. */
  fill(targets: readonly Uint8Array[], signal?: AbortSignal): Promise<void>;
}

const IR_VERSION = 10;
const ONNX_OPSET = 21;
const FLOAT_ATTRIBUTE = 1;
const INT_ATTRIBUTE = 2;
const STRING_ATTRIBUTE = 3;
const GRAPH_ATTRIBUTE = 5;
const INTS_ATTRIBUTE = 7;
const EXTERNAL_LOCATION = 1;

/**
 * Weights are declared as lying in a file, because inline ones would be copied; the file is never
 * read, since memory is bound in its place, but ONNX Runtime insists that it exists.
 */
export const UNREAD_FILE: { readonly folder: string; readonly name: string } = {
  folder: '/dev/',
  name: 'null',
};

/** Builds an ONNX graph node by node; field numbers are those of onnx.proto. */
export class GraphBuilder {
  readonly blocks: WeightBlock[] = [];
  private readonly graph = new ProtoWriter();
  private readonly constants: Map<string, Value>;
  private readonly name: string;
  private nodeCount = 0;

  constructor(name: string) {
    this.name = name;
    this.constants = new Map();
    this.graph.string(2, name);
  }

  input(name: Value, type: ElementType, dims: readonly Dim[]): Value {
    this.graph.message(11, valueInfo(name, type, dims));
    return name;
  }

  output(name: Value, type: ElementType, dims: readonly Dim[]): void {
    this.graph.message(12, valueInfo(name, type, dims));
  }

  /** Weights bound by memory address at session creation; the graph only declares them. */
  weights(weights: readonly Weight[], fill: WeightBlock['fill']): Value[] {
    for (const { name, type, dims } of weights) {
      const location = new ProtoWriter().string(1, 'location').string(2, UNREAD_FILE.name);
      const tensor = tensorHeader(name, type, dims).message(13, location);
      this.graph.message(5, tensor.int(14, EXTERNAL_LOCATION));
    }
    this.blocks.push({ weights, fill });
    return weights.map(({ name }) => name);
  }

  /** A single float weight. */
  floats(
    name: Value,
    dims: readonly number[],
    fill: (target: Float32Array, signal?: AbortSignal) => Promise<void>,
    isPrepacked = false,
  ): Value {
    this.weights([{ name, type: 'float', dims, isPrepacked }], ([target], signal) =>
      target === undefined ? Promise.resolve() : fill(asFloats(target), signal),
    );
    return name;
  }

  /** A small constant stored in the graph itself; equal ones are shared. */
  int64s(values: readonly number[]): Value {
    const key = values.join(',');
    const known = this.constants.get(key);
    if (known !== undefined) return known;
    const name = `${this.name}.int64s.${this.constants.size}`;
    const bytes = new Uint8Array(BigInt64Array.from(values, (value) => BigInt(value)).buffer);
    this.graph.message(5, tensorHeader(name, 'int64', [values.length]).message(9, bytes));
    this.constants.set(key, name);
    return name;
  }

  /** Adds a node and names its outputs; an empty input or output name means "absent". */
  node(
    operator: string,
    inputs: readonly Value[],
    outputs: readonly Value[],
    attributes: Readonly<Record<string, Attribute>> = {},
    domain = '',
  ): void {
    const node = new ProtoWriter();
    for (const input of inputs) node.string(1, input);
    for (const output of outputs) node.string(2, output);
    node.string(3, `${this.name}.${operator}.${this.nodeCount++}`).string(4, operator);
    for (const [name, value] of Object.entries(attributes)) node.message(5, attribute(name, value));
    if (domain !== '') node.string(7, domain);
    this.graph.message(1, node);
  }

  /** Adds a node with one output and returns its name. */
  apply(
    operator: string,
    inputs: readonly Value[],
    attributes: Readonly<Record<string, Attribute>> = {},
    domain = '',
  ): Value {
    const output = `${this.name}.v${this.nodeCount}`;
    this.node(operator, inputs, [output], attributes, domain);
    return output;
  }

  graphBytes(): Uint8Array {
    return this.graph.finish();
  }

  /** The serialized ModelProto. */
  modelBytes(): Uint8Array {
    return new ProtoWriter()
      .int(1, IR_VERSION)
      .string(2, 'gemlet')
      .message(7, this.graph)
      .message(8, new ProtoWriter().string(1, '').int(2, ONNX_OPSET))
      .message(8, new ProtoWriter().string(1, MICROSOFT).int(2, 1))
      .finish();
  }
}

/** Views bytes as floats; weights are laid out at 64-byte boundaries. */
export function asFloats(target: Uint8Array): Float32Array {
  return new Float32Array(target.buffer, target.byteOffset, target.byteLength / 4);
}

/** Domain of ONNX Runtime's own operators. */
export const MICROSOFT = 'com.microsoft';

function valueInfo(name: Value, type: ElementType, dims: readonly Dim[]): ProtoWriter {
  const shape = new ProtoWriter();
  for (const dim of dims) {
    const message = new ProtoWriter();
    shape.message(1, typeof dim === 'number' ? message.int(1, dim) : message.string(2, dim));
  }
  const tensorType = new ProtoWriter().int(1, ELEMENT_TYPES[type]).message(2, shape);
  return new ProtoWriter().string(1, name).message(2, new ProtoWriter().message(1, tensorType));
}

function tensorHeader(name: Value, type: ElementType, dims: readonly number[]): ProtoWriter {
  const tensor = new ProtoWriter();
  for (const dim of dims) tensor.int(1, dim);
  return tensor.int(2, ELEMENT_TYPES[type]).string(8, name);
}

function attribute(name: string, value: Attribute): ProtoWriter {
  const message = new ProtoWriter().string(1, name);
  if (typeof value === 'number') return message.int(3, value).int(20, INT_ATTRIBUTE);
  if (typeof value === 'string') return message.string(4, value).int(20, STRING_ATTRIBUTE);
  if (value instanceof GraphBuilder) {
    return message.message(6, value.graphBytes()).int(20, GRAPH_ATTRIBUTE);
  }
  if ('float' in value) return message.float(2, value.float).int(20, FLOAT_ATTRIBUTE);
  for (const item of value) message.int(8, item);
  return message.int(20, INTS_ATTRIBUTE);
}
