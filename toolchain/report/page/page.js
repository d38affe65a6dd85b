"use strict";
for (const [name, figure] of Object.entries(JSON.parse(document.getElementById("chart-data").textContent))) {
  const place = document.getElementById("chart-" + name);
  Plotly.newPlot(place, figure.data, figure.layout, { responsive: true, displayModeBar: false });
}
