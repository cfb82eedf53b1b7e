/** Dark or light: the system's choice until the user makes one; other tabs follow. */
const KEY = "hector.theme";
const dark = matchMedia("(prefers-color-scheme: dark)");

export function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : dark.matches;
}

export function toggleTheme() {
  const theme = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  localStorage.setItem(KEY, theme);
}

addEventListener("storage", (event) => {
  if (event.key === KEY && event.newValue) document.documentElement.dataset.theme = event.newValue;
});
