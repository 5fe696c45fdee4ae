// Positions of blocks and edges, by dagre, beside the page: it stays usable meanwhile.

// Runs in a worker, after the library: it may use nothing of this page.
function layoutGraph(graph) {
  const drawn = new dagre.graphlib.Graph({ multigraph: true });
  drawn.setGraph({ rankdir: "TB", nodesep: 28, ranksep: 40, edgesep: 14, marginx: 24, marginy: 24, ranker: "tight-tree" });
  drawn.setDefaultEdgeLabel(() => ({}));
  graph.sizes.forEach(([width, height], i) => drawn.setNode(String(i), { width, height }));
  graph.edges.forEach(([source, target], i) => drawn.setEdge(String(source), String(target), {}, String(i)));
  dagre.layout(drawn);
  return {
    nodes: graph.sizes.map((_, i) => { const n = drawn.node(String(i)); return [n.x, n.y]; }),
    edges: graph.edges.map(([source, target], i) =>
      drawn.edge(String(source), String(target), String(i)).points.map((p) => [p.x, p.y])),
  };
}

function layout(graph, done) {
  const library = byId("library").textContent;
  const source = `${library}\n${layoutGraph}\nonmessage = (e) => postMessage(layoutGraph(e.data));`;
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(address);
  const close = () => { worker.terminate(); URL.revokeObjectURL(address); };
  worker.onmessage = (e) => { close(); done(e.data); };
  // Where a page may not start workers, it waits for the layout instead.
  worker.onerror = (e) => { e.preventDefault(); close(); done(layoutGraph(graph)); };
  worker.postMessage(graph);
}
