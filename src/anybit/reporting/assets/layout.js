// Positions of blocks and edges, by dagre, beside the page: it stays usable meanwhile.

// The graph in pieces: a piece ends at a block that no edge passes by, and the next one begins there. Edges go from
// lower to higher numbers, so that one walk finds them all; what repeats through a deep net is laid out once.
function piecesOf({ sizes, edges }) {
  const count = sizes.length, passing = new Array(count + 1).fill(0), comes = new Array(count).fill(false), goes = new Array(count).fill(false);
  edges.forEach(([source, target]) => {
    passing[source + 1] += 1;
    passing[target] -= 1;
    goes[source] = comes[target] = true;
  });
  const cuts = [];
  for (let i = 0, open = 0; i < count; i++) {
    open += passing[i];
    if (open === 0) cuts.push(i);
  }
  // a block without a way to it, or from it, stands beside another one and ends no piece
  const ends = cuts.filter((i) => (i === 0 || comes[i]) && (i === count - 1 || goes[i]));
  if (ends[0] !== 0) ends.unshift(0);
  if (ends[ends.length - 1] !== count - 1) ends.push(count - 1);
  const pieces = ends.slice(1).map((last, k) => ({ first: ends[k], last, edges: [], numbers: [] }));
  const pieceOf = new Array(count).fill(0);
  pieces.forEach((piece, k) => { for (let i = piece.first; i < piece.last; i++) pieceOf[i] = k; });
  edges.forEach(([source, target], number) => {
    const piece = pieces[pieceOf[source]];
    piece.edges.push([source - piece.first, target - piece.first]);
    piece.numbers.push(number);
  });
  return pieces;
}

// Runs in a worker, after the library: of this page it may use nothing but the functions that `layout` sends along.
function layoutGraph(graph) {
  const count = graph.sizes.length, known = new Map();
  const placed = (sizes, edges) => {
    const key = JSON.stringify([sizes, edges]);
    if (!known.has(key)) known.set(key, layoutPiece(sizes, edges));
    return known.get(key);
  };
  const whole = () => { const { nodes, edges } = placed(graph.sizes, graph.edges); return [{ first: 0, last: count - 1, numbers: graph.edges.map((_, i) => i), nodes, lines: edges }]; };
  let pieces = count > 1 ? piecesOf(graph).map((piece) => {
    const found = placed(graph.sizes.slice(piece.first, piece.last + 1), piece.edges);
    return { ...piece, nodes: found.nodes, lines: found.edges };
  }) : count ? whole() : [];
  // pieces stand one under another only where each begins at its top and ends at its bottom
  const upright = ({ nodes }) => nodes.every(([, y], i) => (i === 0 || y > nodes[0][1]) && (i === nodes.length - 1 || y < nodes[nodes.length - 1][1]));
  if (pieces.length > 1 && !pieces.every(upright)) pieces = whole();
  const nodes = graph.sizes.map(() => [0, 0]), lines = graph.edges.map(() => []);
  let x = 0, y = 0;
  for (const piece of pieces) {
    const dx = x - piece.nodes[0][0], dy = y - piece.nodes[0][1], moved = ([px, py]) => [px + dx, py + dy];
    piece.nodes.forEach((place, i) => { nodes[piece.first + i] = moved(place); });
    piece.numbers.forEach((number, i) => { lines[number] = piece.lines[i].map(moved); });
    [x, y] = nodes[piece.last];
  }
  const margin = 24, low = [0, 0], high = [0, 0];
  const hold = (place, half) => [0, 1].forEach((a) => { low[a] = Math.min(low[a], place[a] - half[a]); high[a] = Math.max(high[a], place[a] + half[a]); });
  nodes.forEach((place, i) => hold(place, [graph.sizes[i][0] / 2, graph.sizes[i][1] / 2]));
  lines.forEach((points) => points.forEach((point) => hold(point, [0, 0])));
  const shifted = (place) => place.map((p, a) => p - low[a] + margin);
  return { nodes: nodes.map(shifted), edges: lines.map((points) => points.map(shifted)), size: high.map((h, a) => h - low[a] + 2 * margin) };
}

function layoutPiece(sizes, edges) {
  const gap = 40;
  if (sizes.length === 2 && edges.length === 1) { // one block under another: nothing to decide
    const below = sizes[0][1] / 2 + gap + sizes[1][1] / 2;
    return { nodes: [[0, 0], [0, below]], edges: [[[0, sizes[0][1] / 2], [0, sizes[0][1] / 2 + gap / 2], [0, sizes[0][1] / 2 + gap]]] };
  }
  const drawn = new dagre.graphlib.Graph({ multigraph: true });
  drawn.setGraph({ rankdir: "TB", nodesep: 28, ranksep: gap, edgesep: 14, ranker: "tight-tree" });
  drawn.setDefaultEdgeLabel(() => ({}));
  sizes.forEach(([width, height], i) => drawn.setNode(String(i), { width, height }));
  edges.forEach(([source, target], i) => drawn.setEdge(String(source), String(target), {}, String(i)));
  dagre.layout(drawn);
  return {
    nodes: sizes.map((_, i) => { const n = drawn.node(String(i)); return [n.x, n.y]; }),
    edges: edges.map(([source, target], i) => drawn.edge(String(source), String(target), String(i)).points.map((p) => [p.x, p.y])),
  };
}

function layout(graph, done) {
  const library = byId("library").textContent;
  const source = `${library}\n${piecesOf}\n${layoutPiece}\n${layoutGraph}\nonmessage = (e) => postMessage(layoutGraph(e.data));`;
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(address);
  const close = () => { worker.terminate(); URL.revokeObjectURL(address); };
  worker.onmessage = (e) => { close(); done(e.data); };
  // Where a page may not start workers, it waits for the layout instead.
  worker.onerror = (e) => { e.preventDefault(); close(); done(layoutGraph(graph)); };
  worker.postMessage(graph);
}
