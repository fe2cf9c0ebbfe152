// Puts the parts together.
import { $, el } from "./base.js";
import { getJson } from "./api.js";
import { startChat } from "./chat.js";
import { startExperts } from "./experts.js";
import { startLoad } from "./load.js";

// On narrow screens the two parts are tabs; on wide ones both are there.
function startTabs() {
  const tabs = ["chat", "experts"];
  const choose = (name, focus) => {
    document.body.dataset.tab = name;
    for (const other of tabs) {
      const tab = $("tab-" + other);
      tab.setAttribute("aria-selected", String(other === name));
      tab.tabIndex = other === name ? 0 : -1;
      if (focus && other === name) tab.focus();
    }
  };
  tabs.forEach((name, i) => {
    $("tab-" + name).addEventListener("click", () => choose(name, false));
    $("tab-" + name).addEventListener("keydown", (event) => {
      if (["ArrowLeft", "ArrowRight"].includes(event.key)) choose(tabs[1 - i], true);
    });
  });
  choose("chat", false);
}

async function start() {
  startTabs();
  try {
    const status = await getJson("v1/status");
    startLoad(status);
    startChat(status);
    startExperts(status);
    $("prompt").focus();
  } catch (error) {
    $("model").textContent = "Not reachable";
    $("log").append(el("p", { class: "error" }, error.message, " "),
      el("button", { type: "button", onclick: () => location.reload() }, "Try again"));
  }
}

start();
