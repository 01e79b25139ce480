// The console's one script. Texts go into the page as text only, never as HTML.
"use strict";

// Shortcuts: a key clicks, or focuses, what has it in data-key; j and k go through the rows.
const OFF = "shortcuts-off";
const switchOfShortcuts = document.getElementById("shortcuts");
if (switchOfShortcuts) {
  const say = () => switchOfShortcuts.setAttribute("aria-pressed", String(!localStorage.getItem(OFF)));
  switchOfShortcuts.addEventListener("click", () => {
    if (localStorage.getItem(OFF)) localStorage.removeItem(OFF);
    else localStorage.setItem(OFF, "yes");
    say();
  });
  say();
}

document.addEventListener("keydown", (event) => {
  const at = event.target;
  const field = at instanceof HTMLElement && /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName);
  const writing = field && at.type !== "checkbox";
  if (writing) {
    if (event.key === "Escape") at.blur();
    if (event.key === "Enter" && event.ctrlKey && at.form) {
      event.preventDefault();
      at.form.requestSubmit(at.form.querySelector("[data-submit]"));
    }
    return;
  }
  if (event.ctrlKey || event.altKey || event.metaKey || localStorage.getItem(OFF)) return;
  if (event.key === "j" || event.key === "k") {
    const rows = [...document.querySelectorAll("[data-row]")];
    const next = rows.indexOf(document.activeElement) + (event.key === "j" ? 1 : -1);
    rows[Math.min(Math.max(next, 0), rows.length - 1)]?.focus();
    return;
  }
  const found = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (!found) return;
  event.preventDefault();
  if (found.matches("input[type=checkbox]")) found.click();
  else if (found.matches("input, textarea")) found.focus();
  else found.click();
});

// A page that follows: the texts of what has data-live are asked for again, and put in as text.
const FOLLOW_MS = 3000;

function live(page) {
  return new Map([...page.querySelectorAll("[data-live]")].map((one) => [one.dataset.live, one]));
}

async function follow() {
  const answer = await fetch(location.href, { redirect: "error" });
  if (!answer.ok) return;
  const fresh = live(new DOMParser().parseFromString(await answer.text(), "text/html"));
  const shown = live(document);
  if ([...fresh.keys()].join() !== [...shown.keys()].join()) {
    location.reload(); // there is more to show than before
    return;
  }
  for (const [name, one] of shown) {
    const text = fresh.get(name).textContent;
    if (one.textContent !== text) one.textContent = text;
  }
}

if (live(document).size) {
  setInterval(() => {
    if (!document.hidden) follow().catch(() => {}); // the next one may succeed
  }, FOLLOW_MS);
}

// The desk: what an agent's desktop does with suggestions, and tells (docs/events.md).
const DEBOUNCE_MS = 150; // the server ends what is asked for and typed over
const SEND_MS = 1000;
const AT_ONCE = 100;

function random(bytes) {
  const drawn = crypto.getRandomValues(new Uint8Array(bytes));
  return [...drawn].map((one) => one.toString(16).padStart(2, "0")).join("");
}

function make(tag, text, ...children) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function startDesk(desk) {
  const at = (id) => document.getElementById(id);
  const words = JSON.parse(desk.dataset.words);
  const reply = at("reply");
  let turns = [];
  let conversation = desk.dataset.conversation;
  let offered = null; // {id, draft, candidates}: the last suggestion that was asked for this turn
  let inserted = null; // {index, text, edited}: what of it is in the reply
  let completed = null; // {id, index}: the last completion that was taken
  let quiet = false; // the agent hid the completion of what is typed now
  let summary = null; // {id}
  let waiting = null; // of the debounce
  let asking = null; // aborts the request under way
  let outbox = [];
  let sending = false;

  async function ask(path, body, signal, keepalive) {
    const answer = await fetch(desk.dataset.api + path, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        "x-csrf-token": desk.dataset.csrf,
        "x-conversation-id": conversation,
      },
      body: JSON.stringify(body),
      signal,
      keepalive,
    });
    const said = await answer.json();
    if (!answer.ok) {
      const error = new Error(said.error.message);
      error.status = answer.status;
      throw error;
    }
    return said;
  }

  function tell(type, id, fields) {
    outbox.push({ event_id: random(16), id, at: Date.now() / 1000, type, ...fields });
  }

  async function deliver(keepalive) {
    if (sending || !outbox.length) return;
    sending = true;
    const batch = outbox.slice(0, AT_ONCE);
    try {
      await ask("/v1/events", { events: batch }, undefined, keepalive);
      outbox = outbox.slice(batch.length);
    } catch (error) {
      const again = !error.status || error.status === 429 || error.status >= 500;
      if (!again) outbox = outbox.slice(batch.length);
      say(again ? words.unsent : `${words.failed} ${error.message}`);
    } finally {
      sending = false;
    }
  }

  function say(text) {
    at("state").textContent = text;
  }

  function show() {
    at("turns").replaceChildren(
      ...turns.map((turn) => {
        const text = make("span", turn.text);
        text.className = "text";
        return make("li", "", make("b", words[turn.role]), " ", text);
      }),
    );
  }

  function clear() {
    asking?.abort();
    clearTimeout(waiting);
    offered = inserted = completed = asking = null;
    at("suggestions").replaceChildren();
    ghost();
    say("");
  }

  function offer(answer, draft) {
    const hidden = answer.show === false;
    const candidates = answer.review ? [] : answer.choices.map((one) => ({
      index: one.index,
      text: one.message.content ?? "",
      completion: one.completion ?? "",
    })).filter((one) => one.text);
    offered = { id: answer.id, draft, candidates: hidden ? [] : candidates };
    say(hidden ? words.hidden : answer.review ? words.held : "");
    const cards = offered.candidates.map((one, rank) => card(one, rank));
    if (answer.review) cards.push(make("li", answer.choices[0].message.content));
    at("suggestions").replaceChildren(...cards);
    if (offered.candidates.length) {
      tell("displayed", answer.id, { candidates: offered.candidates.map((one) => one.index) });
    }
    ghost();
  }

  // What of the best completion is still to be typed; it stays while the agent types along with it.
  function rest() {
    const [best] = (!inserted && !quiet && offered?.candidates) || [];
    if (!best?.completion) return "";
    const whole = offered.draft + best.completion;
    return whole.startsWith(reply.value) ? whole.slice(reply.value.length) : "";
  }

  function ghost() {
    const text = rest();
    at("ghost").replaceChildren(...(text ? [reply.value, make("span", text)] : []));
    at("ghost").scrollTop = reply.scrollTop;
  }

  function card(one, rank) {
    const text = make("p", one.text);
    text.className = "text";
    const insert = make("button", words.insert);
    insert.type = "button";
    insert.addEventListener("click", () => put(one, rank));
    const dismiss = make("button", words.dismiss);
    dismiss.type = "button";
    const made = make("li", "", text, insert, " ", dismiss);
    dismiss.addEventListener("click", () => {
      tell("dismissed", offered.id, { index: one.index });
      made.remove();
      reply.focus();
    });
    return made;
  }

  function put(one, rank) {
    inserted = { index: one.index, text: one.text, edited: false };
    reply.value = one.text;
    tell("inserted", offered.id, { index: one.index, rank });
    ghost();
    reply.focus();
  }

  function complete() {
    const { index } = offered.candidates[0];
    reply.value += rest();
    completed = { id: offered.id, index };
    tell("inserted", offered.id, { index, rank: 0 });
    ghost();
    soon();
  }

  async function suggest() {
    asking?.abort();
    if (!turns.length || inserted) return;
    const mine = (asking = new AbortController());
    const draft = reply.value;
    say(words.asking);
    try {
      const body = { lob: at("lob").value, conversation: turns, conversation_id: conversation };
      if (draft.trim()) body.draft = draft;
      const answer = await ask("/v1/suggestions", body, mine.signal);
      if (mine === asking && !inserted) offer(answer, draft);
    } catch (error) {
      if (error.name !== "AbortError" && mine === asking) say(`${words.failed} ${error.message}`);
    }
  }

  function soon() {
    clearTimeout(waiting);
    waiting = setTimeout(suggest, DEBOUNCE_MS);
  }

  reply.addEventListener("scroll", ghost);
  reply.addEventListener("keydown", (event) => {
    const held = event.altKey || event.ctrlKey || event.metaKey || event.shiftKey;
    if (held || event.isComposing || !rest() || reply.selectionStart !== reply.value.length) return;
    if (event.key === "Tab") {
      event.preventDefault();
      complete();
    } else if (event.key === "Escape") {
      quiet = true; // Tab goes on to the next field again
      ghost();
    }
  });

  reply.addEventListener("input", () => {
    quiet = false;
    ghost();
    if (!inserted) {
      soon();
    } else if (!inserted.edited && reply.value.trim() && reply.value !== inserted.text) {
      inserted.edited = true;
      tell("edited", offered.id, { index: inserted.index, text: reply.value });
    }
  });

  document.addEventListener("keydown", (event) => {
    const rank = Number(event.code.replace("Digit", "")) - 1;
    const one = offered?.candidates[rank];
    if (!event.altKey || !one || inserted) return;
    event.preventDefault();
    put(one, rank);
  });

  at("says").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = at("customer").value.trim();
    if (!text) return;
    turns.push({ role: "customer", text });
    at("customer").value = "";
    show();
    clear();
    suggest();
    reply.focus();
  });

  at("answers").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = reply.value.trim();
    if (!text) return;
    if (inserted) {
      tell("sent", offered.id, { index: inserted.index, text });
    } else if (completed) {
      tell("sent", completed.id, { index: completed.index, text });
    } else if (offered) {
      const before = offered.draft.trim() ? { draft: offered.draft } : {};
      tell("typed", offered.id, { text, ...before });
    }
    turns.push({ role: "agent", text });
    reply.value = "";
    show();
    clear();
    deliver();
    at("customer").focus();
  });

  at("summarize").addEventListener("click", async () => {
    if (!turns.length) return;
    say(words.asking);
    try {
      const body = { lob: at("lob").value, conversation: turns, conversation_id: conversation };
      const answer = await ask("/v1/summaries", body);
      summary = { id: answer.id };
      at("summary-text").value = answer.choices[0].message.content ?? "";
      at("summary").hidden = false;
      tell("summary.opened", summary.id, {});
      say("");
      at("summary-text").focus();
    } catch (error) {
      say(`${words.failed} ${error.message}`);
    }
  });

  at("summary").addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = at("summary-text").value;
    if (!text.trim()) return;
    tell("summary.saved", summary.id, { text });
    await deliver();
    if (!outbox.length) say(words.saved);
  });

  function begin(first) {
    conversation = `desk-${random(8)}`;
    turns = first;
    summary = null;
    at("summary").hidden = true;
    reply.value = "";
    show();
    clear();
  }

  at("fresh").addEventListener("click", () => begin([]));
  at("sample").addEventListener("click", () => {
    begin(JSON.parse(desk.dataset.sample));
    suggest();
  });
  at("lob").addEventListener("change", () => begin([]));
  setInterval(() => deliver(), SEND_MS);
  addEventListener("pagehide", () => deliver(true));
}

const desk = document.getElementById("desk");
if (desk) startDesk(desk);
