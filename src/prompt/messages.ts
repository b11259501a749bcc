/** Chat messages after parsing: roles and parts of every client dialect reduced to these. */

export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly parts: readonly MessagePart[];
}

export type MessagePart = TextPart | ImagePart;

export interface TextPart {
  readonly type: 'text';
  readonly text: string;
}

export interface ImagePart {
  readonly type: 'image';
  readonly source: ImageSource;
  /** Add crops of wide or tall images (pan and scan). */
  readonly panAndScan: boolean;
  /** Request path for error messages, such as `messages[0].content[1].image_url`. */
  readonly param: string;
}

export type ImageSource =
  | { readonly type: 'bytes'; readonly bytes: Uint8Array }
  | { readonly type: 'url'; readonly url: string };
