// Sort a table by a click on a header, or by Enter or Space on it: first rising, then falling. Empty cells stay last.
for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const order = (row, column) => row.cells[column].dataset.order;
  headers.forEach((header, column) => {
    header.querySelector("button").addEventListener("click", () => {
      const falling = header.getAttribute("aria-sort") === "ascending";
      for (const other of headers) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const compare = (a, b) => {
        const [x, y] = [order(a, column), order(b, column)];
        if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
        const numbers = x !== "" && y !== "" && !isNaN(x) && !isNaN(y);
        const rising = numbers ? x - y : x.localeCompare(y);
        return falling ? -rising : rising;
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}
// A note of a closed list is opened before it is shown.
for (const link of document.querySelectorAll('a[href^="#note"]')) {
  link.addEventListener("click", () => (document.querySelector(link.getAttribute("href")).closest("details").open = true));
}
// Paper has no closed lists.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
// One voice at a time.
document.addEventListener("play", (event) => {
  for (const other of document.querySelectorAll("audio")) if (other !== event.target) other.pause();
}, true);
