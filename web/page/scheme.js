// Runs before the page is painted, so that it never flashes in the other scheme.
(function () {
  "use strict";
  var query = matchMedia("(prefers-color-scheme: dark)");
  function apply() {
    var want = null;
    try { want = localStorage.getItem("pneudaq.scheme"); } catch (e) { /* storage is off */ }
    if (want !== "light" && want !== "dark") { want = query.matches ? "dark" : "light"; }
    if (document.documentElement.dataset.scheme !== want) {
      document.documentElement.dataset.scheme = want;
      dispatchEvent(new Event("scheme"));
    }
  }
  query.addEventListener("change", apply);
  addEventListener("storage", apply);
  addEventListener("scheme-chosen", apply);
  apply();
})();
