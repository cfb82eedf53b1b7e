/**
 * A browser opens six connections to one origin, and a stream keeps one for itself. So all tabs together
 * hold at most four streams; a tab without a slot asks once a second instead. Two connections stay free
 * for everything else. (Web Locks exist on https and localhost only; elsewhere nothing is counted.)
 */
const SLOTS = 4;

/** A function that gives the slot back, or `null` when all are taken. */
export async function takeSlot() {
  if (!navigator.locks) return () => {};
  for (let number = 0; number < SLOTS; number++) {
    const release = await tryLock(`hector.stream.${number}`);
    if (release) return release;
  }
  return null;
}

function tryLock(name) {
  return new Promise((resolve, reject) => {
    navigator.locks
      .request(name, { ifAvailable: true }, (lock) => {
        if (lock) return new Promise((release) => resolve(release));
        resolve(null);
        return undefined;
      })
      .catch(reject);
  });
}
