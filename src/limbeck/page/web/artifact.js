// Reads an artifact in the browser: a stored zip of which every byte stands under a hash (limbeck_runtime/container.py).

const SEAL = "limbeck sha256:";
const SEAL_BYTES = SEAL.length + 64;

const ENTRY = 0x02014b50, LOCAL = 0x04034b50, END = 0x06054b50;
const END_BYTES = 22, ENTRY_BYTES = 46, LOCAL_BYTES = 30;

const ARRAYS = {
  uint8: Uint8Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  float32: Float32Array,
  float64: Float64Array,
};

/** The manifest and the files of an artifact. Throws where a byte is not what it was written as. */
export async function unsealed(buffer) {
  const bytes = new Uint8Array(buffer);
  const text = new TextDecoder("latin1");
  const body = bytes.subarray(0, bytes.length - SEAL_BYTES);
  const seal = text.decode(bytes.subarray(body.length));
  if (!seal.startsWith(SEAL)) throw new Error("the file is damaged: it does not end in Limbeck's seal");
  if ((await sha256(body)) !== seal.slice(SEAL.length)) throw new Error("the file is damaged: its hash is another");
  const files = members(bytes);
  const manifest = JSON.parse(new TextDecoder().decode(files.get("manifest.json")));
  if (manifest.format !== "limbeck" || manifest.schema !== 1) {
    throw new Error(`the artifact has schema ${manifest.schema}, and this page reads schema 1`);
  }
  for (const [name, said] of Object.entries(manifest.files)) {
    const file = files.get(name);
    if (!file || file.length !== said.bytes || (await sha256(file)) !== said.sha256) {
      throw new Error(`${name} is damaged: it is not what the manifest says`);
    }
  }
  return { manifest, files };
}

/** A zeroed array of a type that the manifest names. */
export function emptied(dtype, length) {
  return new ARRAYS[dtype](length);
}

/** The numbers of a file: little-endian, as every browser's processor is. */
export function numbers(said, files) {
  const bytes = files.get(said.file);
  const copy = bytes.slice(); // its own memory, so that numbers lie on the boundaries they need
  return new ARRAYS[said.dtype](copy.buffer);
}

async function sha256(bytes) {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (each) => each.toString(16).padStart(2, "0")).join("");
}

function members(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = bytes.length - SEAL_BYTES - END_BYTES;
  if (view.getUint32(end, true) !== END) throw new Error("the file is damaged: it is no zip");
  const files = new Map();
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left -= 1) {
    if (view.getUint32(at, true) !== ENTRY) throw new Error("the file is damaged: its directory cannot be read");
    if (view.getUint16(at + 10, true) !== 0) throw new Error("the file is damaged: it is compressed");
    const size = view.getUint32(at + 24, true);
    const [name, extra, comment] = [28, 30, 32].map((place) => view.getUint16(at + place, true));
    const local = view.getUint32(at + 42, true);
    if (view.getUint32(local, true) !== LOCAL) throw new Error("the file is damaged: a file in it is not where it is said");
    const start = local + LOCAL_BYTES + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const title = new TextDecoder().decode(bytes.subarray(at + ENTRY_BYTES, at + ENTRY_BYTES + name));
    files.set(title, bytes.subarray(start, start + size));
    at += ENTRY_BYTES + name + extra + comment;
  }
  return files;
}
