// A classic script, run before the first paint, so that the chosen theme does not flash in late.
(() => {
  const theme = localStorage.getItem("hector.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
