// What a picture's file says beside its pixels: its kind, which way is up, and whether it has a colour profile.

const ORIENTATION = 0x0112; // EXIF 2.32, 4.6.4 A
const XMP = /tiff:Orientation(?:="|>)([0-9])/;
const ADOBE = "http://ns.adobe.com/xap/1.0/\0";

const text = (bytes, from = 0, to = bytes.length) => {
  let found = "";
  for (let i = from; i < Math.min(to, bytes.length); i++) found += String.fromCharCode(bytes[i]);
  return found;
};
const view = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** The type of a file by its first bytes, null for none that is read. */
export function typeOf(bytes) {
  const start = text(bytes, 0, 16);
  if (start.startsWith("\xff\xd8\xff")) return "image/jpeg";
  if (start.startsWith("\x89PNG\r\n\x1a\n")) return "image/png";
  if (start.startsWith("RIFF") && start.startsWith("WEBP", 8)) return "image/webp";
  if (start.startsWith("GIF87a") || start.startsWith("GIF89a")) return "image/gif";
  return start.startsWith("BM") ? "image/bmp" : null;
}

/**
 * Read the orientation (1 to 8) of a picture's bytes, whether it has an ICC profile for its colours, and whether it is a
 * JPEG of inks that are not Adobe's, which browsers take to be stored inverted as Adobe's are. The
 * orientation is then set to 1 in the bytes: some browsers turn such a picture and some do not, of some kinds of files.
 */
export async function inspect(bytes, type) {
  const found = { exif: null, xmp: null, profile: [], channels: 3, adobe: false };
  try {
    ({ "image/jpeg": jpeg, "image/png": png, "image/webp": webp })[type]?.(bytes, found);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // the file ends early: decoding will tell
  }
  const written = found.exif && orientationOf(found.exif);
  const said = written ?? Number(XMP.exec(found.xmp ?? "")?.[1] ?? 1);
  const profile = found.profile.length ? await whole(new Blob(found.profile), type) : null;
  const space = { 1: "GRAY", 4: "CMYK" }[found.channels] ?? "RGB ";
  return {
    orientation: said >= 1 && said <= 8 ? said : 1,
    profiled: profile !== null && text(profile, 16, 20) === space,
    inverted: found.channels === 4 && !found.adobe,
  };
}

// PNG packs its profile.
async function whole(blob, type) {
  const stream = type === "image/png" ? blob.stream().pipeThrough(new DecompressionStream("deflate")) : blob;
  return new Uint8Array(await new Response(stream).arrayBuffer().catch(() => new ArrayBuffer(0)));
}

function jpeg(bytes, found) {
  const data = view(bytes);
  for (let at = 2; ;) {
    while (data.getUint8(at) !== 0xff) at += 1;
    while (data.getUint8(at) === 0xff) at += 1;
    const marker = data.getUint8(at++);
    if (marker === 0xda || marker === 0xd9) return;
    if (marker === 0 || marker === 1 || (marker >= 0xd0 && marker <= 0xd8)) continue; // these have no content
    const part = bytes.subarray(at + 2, at + data.getUint16(at));
    if ([0xc0, 0xc1, 0xc2].includes(marker)) found.channels = part[5];
    if (marker === 0xe1 && text(part, 0, 6) === "Exif\0\0") found.exif ??= part;
    if (marker === 0xe1 && text(part, 0, ADOBE.length) === ADOBE) found.xmp ??= text(part);
    if (marker === 0xee && text(part, 0, 5) === "Adobe") found.adobe = true;
    if (marker === 0xe2 && text(part, 0, 12) === "ICC_PROFILE\0") found.profile[part[12] - 1] = part.subarray(14);
    at += data.getUint16(at);
  }
}

function png(bytes, found) {
  const data = view(bytes);
  if (data.getUint8(25) === 0 || data.getUint8(25) === 4) found.channels = 1;
  for (let at = 8; at < bytes.length;) {
    const size = data.getUint32(at), kind = text(bytes, at + 4, at + 8), part = bytes.subarray(at + 8, at + 8 + size);
    if (kind === "eXIf") found.exif ??= part;
    if (kind === "iTXt" && text(part, 0, 18) === "XML:com.adobe.xmp\0") found.xmp ??= text(part);
    if (kind === "iCCP") found.profile = [part.subarray(part.indexOf(0) + 2)];
    at += 12 + size;
  }
}

function webp(bytes, found) {
  const data = view(bytes);
  for (let at = 12; at < bytes.length;) {
    const kind = text(bytes, at, at + 4), size = data.getUint32(at + 4, true), part = bytes.subarray(at + 8, at + 8 + size);
    if (kind === "EXIF") found.exif ??= part;
    if (kind === "XMP ") found.xmp ??= text(part);
    if (kind === "ICCP") found.profile = [part];
    at += 8 + size + (size % 2);
  }
}

// The orientation that EXIF states, null where it states none; 1 from now on.
function orientationOf(block) {
  const exif = text(block, 0, 6) === "Exif\0\0" ? block.subarray(6) : block;
  const data = view(exif), order = text(exif, 0, 2);
  if (order !== "II" && order !== "MM") return null;
  try {
    const little = order === "II", first = data.getUint32(4, little);
    for (let i = 0, entries = data.getUint16(first, little); i < entries; i++) {
      const at = first + 2 + 12 * i;
      if (data.getUint16(at, little) !== ORIENTATION) continue;
      const long = data.getUint16(at + 2, little) === 4;
      const value = long ? data.getUint32(at + 8, little) : data.getUint16(at + 8, little);
      if (long) data.setUint32(at + 8, 1, little);
      else data.setUint16(at + 8, 1, little);
      return value;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // broken EXIF does not make a bad picture
  }
  return null;
}
