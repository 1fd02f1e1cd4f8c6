// The few things that happen in the browser alone: seeking, copying, light and dark. One listener serves every card.
(() => {
  const KEY = "guardroom_theme";
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  const apply = () => {
    const chosen = localStorage.getItem(KEY);
    document.body.classList.toggle("dark", chosen ? chosen === "dark" : dark.matches);
  };
  apply();
  dark.addEventListener("change", () => queueMicrotask(apply));

  // Gradio's box has a visible title, but its text field has no name of its own for a screen reader.
  const name = () => {
    const field = document.querySelector("#gr-box textarea:not([aria-label])");
    if (field) field.setAttribute("aria-label", "What the user asks");
  };
  new MutationObserver(name).observe(document.body, { childList: true, subtree: true });

  const copied = async (button) => {
    const text = button.dataset.copy;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Without a secure context there is no clipboard API.
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    const before = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = before; }, 1600);
  };

  const show = (element, block) => {
    const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    element.scrollIntoView({ block, behavior: calm ? "auto" : "smooth" });
  };

  const seek = (seconds, seeker) => {
    const video = seeker.closest("#gr-r-item") ? window.guardroomReview.video(seeker.dataset.position) : document.querySelector("#gr-preview video");
    if (!video) return;
    video.pause();
    video.currentTime = seconds;
    const box = video.getBoundingClientRect();
    if (box.bottom < 0 || box.top > window.innerHeight) show(video, "center");
  };

  // A player that stays black says why. Errors of media do not bubble, so they are caught on their way down.
  document.addEventListener("error", (event) => {
    const video = event.target;
    if (!(video instanceof HTMLVideoElement) || !video.closest(".gr-figure, .gr-r-figure")) return;
    const figure = video.closest("figure");
    if (figure.querySelector(".gr-unplayable")) return;
    const said = document.createElement("p");
    said.className = "gr-unplayable";
    said.setAttribute("role", "status");
    said.textContent = "This browser cannot play this video. The guard reads it all the same.";
    video.closest(".gr-r-veil, figure").append(said);
  }, true);

  // On a narrow screen the verdict lies below the examples: go there when the work begins.
  const showCard = () => {
    const card = document.querySelector("#gr-card");
    if (card && window.innerWidth <= 820) show(card, "start");
  };

  // Who calls a verdict wrong writes why: the field takes the focus as soon as the server has shown it.
  const writeWhy = async () => {
    for (let tries = 0; tries < 60; tries += 1) {
      const field = document.querySelector("#gr-note textarea");
      if (field?.offsetParent) return field.focus();
      await new Promise((done) => setTimeout(done, 50));
    }
  };

  document.addEventListener("click", (event) => {
    if (event.target.closest("#gr-go")) showCard();
    if (event.target.closest("#gr-wrong")) writeWhy();
    const seeker = event.target.closest("[data-seek]");
    if (seeker) return seek(Number(seeker.dataset.seek), seeker);
    const copier = event.target.closest("[data-copy]");
    if (copier) return void copied(copier);
    if (event.target.closest("[data-theme-toggle]")) {
      localStorage.setItem(KEY, document.body.classList.contains("dark") ? "light" : "dark");
      apply();
    }
  });
})();
