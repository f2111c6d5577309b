/** Why there is no answer: `code` is one of words.js, else `message` stands as it is. */
export class Problem extends Error {
  constructor(code, message = code) {
    super(message);
    this.code = code;
  }
}
