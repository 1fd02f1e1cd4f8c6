// The review queue in the browser: keys, marks, and how media are shown. What each key does comes from the server.
(() => {
  const KEY = "guardroom_media";
  const SAFE = { blur: true, grey: true, mute: true, strength: 28 };
  const $ = (selector) => document.querySelector(selector);
  const shown = (element) => Boolean(element && element.offsetParent !== null);
  let message = null;
  let from = null;
  let begun = null;
  let asking = null;
  let chord = false;

  // -- messages to the server: the button's event takes the message in the very moment in which it is sent
  const send = (said) => {
    message = JSON.stringify(said);
    $("#gr-r-act")?.click();
  };
  let wanted = null;
  window.guardroomReview = {
    take: () => message,
    page: () => { const id = wanted; wanted = null; return id; },
    video: (position) => {
      used = $(`#gr-r-media video[data-at="${position}"]`) || used;
      return video();
    },
  };

  // -- how media are shown: safe unless this browser was told otherwise
  const settings = () => {
    try {
      return { ...SAFE, ...JSON.parse(localStorage.getItem(KEY) || "{}") };
    } catch {
      return { ...SAFE };
    }
  };
  const dress = () => {
    const now = settings();
    // On the media themselves: Gradio puts its own container before every selector of a style sheet.
    for (const media of document.querySelectorAll(".gr-r-media")) {
      media.toggleAttribute("data-clear", now.blur === false);
      media.toggleAttribute("data-colour", now.grey === false);
    }
    document.documentElement.style.setProperty("--r-blur", `${Math.min(60, Math.max(4, Number(now.strength) || 28))}px`);
    for (const control of document.querySelectorAll("[data-r-switch]")) {
      const name = control.dataset.rSwitch;
      if (control.type === "checkbox") control.checked = now[name] !== false;
      else if (document.activeElement !== control) control.value = now[name];
    }
    for (const video of document.querySelectorAll("#gr-r-media video")) video.muted = now.mute !== false;
  };
  const change = (name, value) => {
    localStorage.setItem(KEY, JSON.stringify({ ...settings(), [name]: value }));
    dress();
  };

  // A new item hides its media again, whatever was revealed before.
  let item = null;
  const arrived = () => {
    const now = $("#gr-r-why [data-item]")?.dataset.item ?? null;
    if (now === item) return;
    item = now;
    from = null;
    used = null;
    hint(false);
    // What has the focus belongs to the item before: Enter must mean submit again.
    const focused = document.activeElement;
    if (focused?.closest("[role=tablist], #gr-r-form, #gr-r-actions, #gr-r-past, #gr-r-item")) focused.blur();
    window.scrollTo({ top: 0 });
  };
  let media = null;
  let node = null;
  const mediaArrived = () => {
    const now = $("#gr-r-media .gr-r-media");
    const id = now ? `${now.dataset.item} ${now.querySelector("[src]")?.getAttribute("src")}` : null;
    if (id === media && now === node) return;
    media = id;
    node = now;
    if (now) now.removeAttribute("data-revealed");
    dress();
  };
  new MutationObserver(() => { mediaArrived(); arrived(); }).observe(document.documentElement, {
    childList: true, subtree: true, attributes: true, attributeFilter: ["data-item"],
  });

  // Of several videos the keys belong to the one that was played or pressed last. A loop of another one is no such play.
  let used = null;
  const use = (event) => {
    if (!event.target.matches?.("#gr-r-media video")) return;
    used = event.target;
    $("[data-r-rate]").textContent = `${used.playbackRate}×`;
  };
  document.addEventListener("play", use, true);
  document.addEventListener("pointerdown", use, true);
  const video = () => (used?.isConnected ? used : $("#gr-r-media video"));
  const rate = (factor) => {
    const player = video();
    if (!player) return;
    player.playbackRate = Math.min(4, Math.max(0.25, player.playbackRate * factor));
    $("[data-r-rate]").textContent = `${player.playbackRate}×`;
  };
  const step = (frames) => {
    const player = video();
    if (!player) return;
    player.pause();
    player.currentTime = Math.max(0, player.currentTime + frames / (Number(player.dataset.fps) || 25));
  };
  const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;

  // -- evidence: offsets in characters as Python counts them, not in halves of surrogate pairs
  const characters = (text) => [...text].length;
  const mark = () => {
    const selection = window.getSelection();
    if (!selection.rangeCount || selection.isCollapsed) return;
    const range = selection.getRangeAt(0);
    const start = range.startContainer.nodeType === 1 ? range.startContainer : range.startContainer.parentElement;
    const text = start.closest("#gr-r-texts [data-part]");
    if (!text || !text.contains(range.endContainer)) return;
    const before = document.createRange();
    before.selectNodeContents(text);
    before.setEnd(range.startContainer, range.startOffset);
    const at = characters(before.toString());
    send({ do: "evidence", part: text.dataset.part, start: at, end: at + characters(range.toString()) });
    selection.removeAllRanges();
  };
  const stretch = (end) => {
    const player = video();
    if (!player) return;
    if (!end) {
      from = player.currentTime;
      begun = player;
      $("[data-r-from]").textContent = `from ${clock(from)}`;
    } else if (from !== null && begun === player) {
      const [a, b] = [Math.min(from, player.currentTime), Math.max(from, player.currentTime)];
      from = null;
      $("[data-r-from]").textContent = "";
      send({ do: "evidence", part: "media", position: Number(player.dataset.at), start: a, end: b });
    }
  };

  // -- the form: Gradio's own controls, pressed for the person
  const choose = (group, value) => {
    const options = [...document.querySelectorAll(`#${group} input[type=radio]`)].filter(shown);
    options.find((each) => each.value === value)?.click();
  };
  const cycle = () => {
    const options = [...document.querySelectorAll("#gr-r-confidence input[type=radio]")];
    const at = options.findIndex((each) => each.checked);
    options[(at + 1) % options.length]?.click();
  };
  const hint = (on) => {
    chord = on;
    $("#gr-r-categories")?.classList.toggle("gr-r-chord", on);
  };
  const field = (selector) => {
    const area = $(`${selector} textarea, ${selector} input`);
    area?.focus();
    if (area?.tagName === "TEXTAREA") area.setSelectionRange(area.value.length, area.value.length);
  };
  const open = (dialog) => {
    if (dialog && !dialog.open) dialog.showModal();
  };
  const ask = (what, title) => {
    asking = what;
    const dialog = $("#gr-r-ask");
    dialog.querySelector("[data-r-asked]").textContent = title;
    dialog.querySelector("input").value = "";
    open(dialog);
  };
  const answer = (why) => {
    $("#gr-r-ask").close();
    if (why.trim() && asking) send({ do: asking, why: why.trim() });
    asking = null;
  };
  const jump = () => {
    const player = video();
    if (!player) return;
    const own = `#gr-r-timeline .gr-stretch[data-position="${player.dataset.at}"]`;
    const stretches = [...document.querySelectorAll(own)].filter((each) => each.dataset.zone !== "allow");
    if (!stretches.length) return;
    const later = stretches.find((each) => Number(each.dataset.seek) > player.currentTime + 0.05);
    (later || stretches[0]).click();
  };

  // A sample's page. Gradio builds a tab when it is first shown, so whoever comes from elsewhere goes through the tabs.
  const appears = async (selector, visible) => {
    for (let tries = 0; tries < 600; tries += 1) {
      const found = $(selector);
      if (found && (!visible || shown(found))) return found;
      await new Promise((done) => setTimeout(done, 50));
    }
    return null;
  };
  const tabOf = (group, name) => [...document.querySelectorAll(`${group} button[role=tab]`)].find((each) => each.textContent.trim() === name);
  const openPage = async (id) => {
    if (!shown($("#gr-r-tabs"))) tabOf("#gr-tabs", "Review")?.click();
    if (!(await appears("#gr-r-tabs", true))) return;
    if (!$("#gr-s-open")) tabOf("#gr-r-tabs", "Samples")?.click();
    const opener = await appears("#gr-s-open", false);
    wanted = id;
    opener?.click();
  };

  // Its address: the page's with #sample=ID.
  const goTo = (id) => {
    const address = `#sample=${encodeURIComponent(id)}`;
    if (location.hash === address) openPage(id);
    else location.hash = address;
  };
  const follow = async () => {
    const id = new URLSearchParams(location.hash.slice(1)).get("sample");
    if (id && (await appears("#gr-tabs button[role=tab]", true))) openPage(id);
  };
  window.addEventListener("hashchange", follow);
  if (document.readyState === "complete") follow();
  else window.addEventListener("load", follow);

  const actions = {
    "request-harmful": () => choose("gr-r-request", "harmful"),
    "request-unharmful": () => choose("gr-r-request", "unharmful"),
    "response-harmful": () => choose("gr-r-response", "harmful"),
    "response-unharmful": () => choose("gr-r-response", "unharmful"),
    category: () => hint(true),
    confidence: cycle,
    note: () => field("#gr-r-note"),
    wrong: (key) => send({ do: "wrong", step: Number(key) }),
    adopt: () => $("#gr-r-adopt")?.click(),
    edit: () => field("#gr-r-reasoning"),
    continue: () => $("#gr-r-continue")?.click(),
    stop: () => $("#gr-r-stop")?.click(),
    mark,
    from: () => stretch(false),
    to: () => stretch(true),
    reveal: () => $("#gr-r-media .gr-r-media")?.toggleAttribute("data-revealed"),
    blur: () => change("blur", settings().blur === false),
    grey: () => change("grey", settings().grey === false),
    mute: () => change("mute", settings().mute === false),
    play: () => video() && (video().paused ? video().play() : video().pause()),
    back: () => step(-1),
    on: () => step(1),
    speed: (key) => rate(key === "<" ? 0.5 : 2),
    slower: () => rate(0.5),
    faster: () => rate(2),
    jump,
    submit: () => $("#gr-r-submit")?.click(),
    skip: () => ask("skip", "Why skip it?"),
    second: () => ask("second", "Why a second opinion?"),
    undo: () => send({ do: "undo" }),
    reopen: () => send({ do: "reopen" }),
    policy: () => { const page = $("#gr-r-policy"); if (page) page.open = !page.open; },
    help: () => open($("#gr-r-map")),
    leave: () => document.activeElement?.blur(),
  };
  const always = new Set(["undo", "reopen", "help"]);

  const typing = (element) =>
    element.isContentEditable ||
    element.closest("textarea, select, [contenteditable=true]") ||
    (element.tagName === "INPUT" && !["radio", "checkbox", "range", "button"].includes(element.type));

  let keys = null;
  document.addEventListener("keydown", (event) => {
    if (!shown($("#gr-r-top")) || event.isComposing) return;
    const target = event.target;
    const inForm = target.closest?.("#gr-r-form");
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && (inForm || !typing(target))) {
      event.preventDefault();
      return actions.submit();
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const dialog = $("#gr-r-ask");
    if (dialog?.open) {
      const choice = !typing(target) && dialog.querySelectorAll("[data-r-why]")[Number(event.key) - 1];
      if (choice) { event.preventDefault(); answer(choice.dataset.rWhy); }
      return;
    }
    if ($("#gr-r-map")?.open) {
      if (event.key === "?") { event.preventDefault(); $("#gr-r-map").close(); }
      return;
    }
    if (typing(target)) {
      if (event.key === "Escape") target.blur();
      // After a search the keys belong to what was found.
      if (event.key === "Enter" && target.closest("#gr-r-words")) setTimeout(() => target.blur());
      return;
    }
    if (chord) {
      hint(false);
      const at = event.key.length === 1 ? event.key.charCodeAt(0) - 97 : -1;
      const box = document.querySelectorAll("#gr-r-categories input[type=checkbox]")[at];
      if (box) { event.preventDefault(); box.click(); }
      return;
    }
    keys ??= JSON.parse($("#gr-r-keys")?.dataset.keys || "{}");
    const does = keys[event.key];
    if (!does || (!always.has(does) && !shown($("#gr-r-body")))) return;
    // On a control of its own, Enter and Space do what they do everywhere; a chosen radio or checkbox is no such control.
    const control = target.closest?.("button, a, summary, video, [role=tab], [role=option]");
    if (control && (event.key === "Enter" || event.key === " ")) return;
    // Space chooses on a radio or checkbox, and scrolls where there is nothing to play.
    if (event.key === " " && (target.tagName === "INPUT" || !video())) return;
    event.preventDefault();
    actions[does](event.key);
  });

  // What was pressed with the mouse does not keep the focus, so that Enter goes on to mean submit; with Tab it does.
  document.addEventListener("click", (event) => {
    const pressed = event.detail > 0 && event.target.closest?.("button, a, summary, video");
    if (!pressed || pressed.closest("dialog")) return;
    setTimeout(() => {
      if (shown($("#gr-r-top")) && document.activeElement === pressed) pressed.blur();
    });
  });

  document.addEventListener("click", (event) => {
    const at = (selector) => event.target.closest(selector);
    let found;
    if ((found = at("[data-r-do]"))) return actions[found.dataset.rDo]?.(found.dataset.rDo);
    if ((found = at("[data-r-wrong]"))) return send({ do: "wrong", step: Number(found.dataset.rWrong) });
    if ((found = at("[data-r-drop]"))) return send({ do: "drop", at: Number(found.dataset.rDrop) });
    if ((found = at("[data-r-reopen]"))) return send({ do: "reopen", sample: found.dataset.rReopen });
    if ((found = at("[data-r-page]"))) return goTo(found.dataset.rPage);
    if ((found = at("[data-r-why]"))) return answer(found.dataset.rWhy);
    if ((found = at("[data-r-close]"))) return found.closest("dialog").close();
  });
  document.addEventListener("submit", (event) => {
    if (!event.target.closest("#gr-r-ask")) return;
    event.preventDefault();
    answer(event.target.querySelector("input").value);
  });
  document.addEventListener("change", (event) => {
    const tie = event.target.closest("[data-r-tie]");
    if (tie) send({ do: "tie", at: Number(tie.dataset.rTie), step: Number(tie.value) });
  });
  document.addEventListener("input", (event) => {
    const control = event.target.closest?.("[data-r-switch]");
    if (control) change(control.dataset.rSwitch, control.type === "checkbox" ? control.checked : Number(control.value));
  });
})();
