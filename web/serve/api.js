// Requests to the server that this page came from. The key is kept in this tab's session storage,
// and nowhere else.
import { $ } from "./base.js";

const kKey = "conclave-key";

function storedKey() {
  try {
    return sessionStorage.getItem(kKey) || "";
  } catch {
    return "";  // storage is off: the key lives in memory
  }
}

let key = storedKey();
let asking = null;

// Asks once, however many requests are refused; resolves when a key was given.
function askForKey() {
  if (asking) return asking;
  const dialog = $("key-dialog");
  $("key-error").hidden = key === "";
  $("key").value = "";
  dialog.showModal();
  $("key").focus();
  asking = new Promise((resolve) => {
    const submit = (event) => {
      event.preventDefault();
      key = $("key").value.trim();
      try {
        sessionStorage.setItem(kKey, key);
      } catch { /* it lives in memory */ }
      $("key-form").removeEventListener("submit", submit);
      dialog.close();
      asking = null;
      resolve();
    };
    $("key-form").addEventListener("submit", submit);
  });
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  return asking;
}

export class ApiError extends Error {
  constructor(status, error, retryAfter) {
    super(error.message || `the server said ${status}`);
    this.status = status;
    this.code = error.code;
    this.retryAfter = retryAfter;
  }
}

async function request(path, options = {}) {
  for (;;) {
    const used = key;
    const headers = used === "" ? {} : { Authorization: "Bearer " + used };
    const response = await fetch(path, { ...options, headers, cache: "no-store" });
    if (response.ok) return response;
    if (response.status === 401) {
      if (key === used) await askForKey();
      continue;
    }
    let error = {};
    try {
      error = (await response.json()).error || {};
    } catch { /* no JSON: the status says it */ }
    throw new ApiError(response.status, error, Number(response.headers.get("Retry-After")) || 0);
  }
}

export const getJson = async (path) => (await request(path)).json();

// The server-sent events of a POST, as JSON values.
export async function* stream(path, body, signal) {
  const response = await request(path, { method: "POST", body: JSON.stringify(body), signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data: ")) continue;
        if (line === "data: [DONE]") return;
        const event = JSON.parse(line.slice(6));
        if (event.error) throw new ApiError(response.status, event.error, 0);
        yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
  throw new Error("the connection ended before the answer");
}
