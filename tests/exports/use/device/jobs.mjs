// As jobs.cpp, with the modules of the page. Transparency and EXIF are its decoder's, which needs a browser.
import { readFileSync } from "node:fs";
import { fit, numbers } from "./preprocess.js";
import { rows } from "./resample.js";

const input = readFileSync(0), made = [];
for (let at = 0; at < input.length;) {
  const end = input.indexOf(10, at), words = input.subarray(at, end).toString().split(" "), values = words.map(Number);
  const [width, height] = values, size = values[4];
  const how = {
    size, resize: words[5], crop_fraction: values[6], interpolation: words[7], scale: values[8],
    mean: values.slice(9, 12), std: values.slice(12, 15), fill: values.slice(15, 18),
  };
  const picture = fit(rows(input.subarray(end + 1, end + 1 + 3 * width * height), width, height, 3), how);
  at = end + 1 + 3 * width * height;
  const add = (kind, layout) => made.push(Buffer.from(numbers(picture, how, { input: kind, layout }).buffer));
  const layout = values[18] ? "NCHW" : "NHWC";
  add("uint8", "NHWC");
  add("uint8", layout);
  add("float32", layout);
}
process.stdout.write(Buffer.concat(made));
