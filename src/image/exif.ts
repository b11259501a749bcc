/** How a picture must be turned to stand upright: the EXIF orientation, 1 to 8; 1 is upright. */
export type Orientation = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8;

const ORIENTATION_TAG = 0x0112;
/** "Exif\0\0", before the TIFF header in JPEG and, against the specification, in some WebP files. */
const EXIF_PREFIX = [0x45, 0x78, 0x69, 0x66, 0, 0];
const ENTRY_BYTES = 12;

/** Whether `bytes` begin with EXIF's own marker. */
export function hasExifPrefix(bytes: Uint8Array): boolean {
  return EXIF_PREFIX.every((value, index) => bytes[index] === value);
}

/**
 * Reads the orientation out of EXIF data, with or without its "Exif" prefix. Damaged or absent
 * data count as upright, as everywhere: a picture is not refused over its metadata.
 */
export function readOrientation(exif: Uint8Array): Orientation {
  const tiff = hasExifPrefix(exif) ? exif.subarray(EXIF_PREFIX.length) : exif;
  if (tiff.length < 8) return 1;
  const isLittleEndian = tiff[0] === 0x49 && tiff[1] === 0x49;
  if (!isLittleEndian && !(tiff[0] === 0x4d && tiff[1] === 0x4d)) return 1;
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength);
  if (view.getUint16(2, isLittleEndian) !== 42) return 1;
  const start = view.getUint32(4, isLittleEndian);
  if (start + 2 > tiff.length) return 1;
  const entryCount = view.getUint16(start, isLittleEndian);
  for (let index = 0; index < entryCount; index += 1) {
    const entry = start + 2 + index * ENTRY_BYTES;
    if (entry + ENTRY_BYTES > tiff.length) return 1;
    if (view.getUint16(entry, isLittleEndian) !== ORIENTATION_TAG) continue;
    return toOrientation(readInteger(view, entry, isLittleEndian));
  }
  return 1;
}

/** The first value of an entry that lies in the entry itself; 0 for types that are no integers. */
function readInteger(view: DataView, entry: number, isLittleEndian: boolean): number {
  switch (view.getUint16(entry + 2, isLittleEndian)) {
    case 1:
      return view.getUint8(entry + 8);
    case 3:
      return view.getUint16(entry + 8, isLittleEndian);
    case 4:
      return view.getUint32(entry + 8, isLittleEndian);
    default:
      return 0;
  }
}

function toOrientation(value: number): Orientation {
  return value >= 1 && value <= 8 ? (value as Orientation) : 1;
}
