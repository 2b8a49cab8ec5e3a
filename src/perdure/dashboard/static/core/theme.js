// Light, dark, or what the system prefers. Loaded before the first paint, so that nothing flashes.
(() => {
  const KEY = "perdure-theme";
  const CHOICES = ["auto", "light", "dark"];
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = "auto";
  try { chosen = localStorage.getItem(KEY) ?? "auto"; } catch { /* a browser that keeps nothing: the system decides */ }

  function apply() {
    document.documentElement.dataset.theme = chosen === "auto" ? (system.matches ? "dark" : "light") : chosen;
    document.dispatchEvent(new Event("themechange"));
  }

  window.theme = {
    get chosen() { return chosen; },
    next() {
      chosen = CHOICES[(CHOICES.indexOf(chosen) + 1) % CHOICES.length];
      try { localStorage.setItem(KEY, chosen); } catch { /* it lasts until the page is closed */ }
      apply();
    },
  };
  system.addEventListener("change", apply);
  apply();
})();
