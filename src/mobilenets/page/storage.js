// What the page keeps in the browser. Some allow no page that (without cookies, or in a frame of another site), or have no
// room left: then it lasts as long as the page.

function keeper(storage) {
  const kept = new Map();
  return {
    get(key) {
      try {
        return kept.get(key) ?? window[storage].getItem(key);
      } catch {
        return null;
      }
    },
    set(key, value) {
      kept.set(key, value);
      try {
        window[storage].setItem(key, value);
      } catch {
        // As said above.
      }
    },
  };
}

export const forGood = keeper("localStorage"), ofThisTab = keeper("sessionStorage");
