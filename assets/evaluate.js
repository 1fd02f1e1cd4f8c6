// The buttons inside the tables of Evaluate, and revealing a blurred medium. What a button does is the server's part.
(() => {
  const SURE_MS = 4000;
  const PRESSES = 50;
  const AGAIN_MS = 100;
  let message = null;

  const press = (left) => {
    const act = document.querySelector("#gr-e-act");
    if (act) act.click();
    else if (left) setTimeout(() => press(left - 1), AGAIN_MS);
  };

  window.guardroomEvaluate = { take: () => message };

  // A delete asks once more, on the button itself.
  const isSure = (button) => {
    if (!button.dataset.eSure || button.dataset.asked) return true;
    const before = button.textContent;
    button.dataset.asked = "true";
    button.textContent = button.dataset.eSure;
    setTimeout(() => { delete button.dataset.asked; button.textContent = before; }, SURE_MS);
    return false;
  };

  document.addEventListener("click", (event) => {
    const reveal = event.target.closest("[data-e-reveal]");
    if (reveal) return void reveal.closest(".gr-r-media").toggleAttribute("data-revealed", true);
    const button = event.target.closest("[data-e-do]");
    if (!button || !isSure(button)) return;
    message = JSON.stringify({ do: button.dataset.eDo, run: button.dataset.eRun });
    // A run of the Train tab leads here; the tab's parts are there a moment after it was opened.
    if (!button.closest("#gr-e-inside")) document.querySelector("#gr-tabs [data-tab-id=evaluate]")?.click();
    press(PRESSES);
  });
})();
