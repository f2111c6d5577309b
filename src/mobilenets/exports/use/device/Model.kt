// What model.json says about an exported file: how to prepare pictures for it, and how to read its output.
package mobilenets

import java.nio.ByteBuffer
import java.util.zip.CRC32
import kotlin.math.abs
import org.json.JSONArray
import org.json.JSONObject

class Answer(val label: String, val probability: Float)

/** `known` is false for a picture of none of the classes, and null where the file cannot tell. */
class Answers(val known: Boolean?, found: List<Answer>) : List<Answer> by found

/** `run` takes the values of a batch and their shape, and returns the scores, and after them the distances if any. */
class Model(json: String, private val run: (ByteBuffer, LongArray) -> FloatArray) {
    private val about = JSONObject(json)
    private val file = about.getJSONObject("export")
    private val inside = file.getString("geometry") == "inside"
    val how = preprocessing(about.getJSONObject("preprocessing"))
    val classes = about.getJSONArray("classes").let { names -> List(names.length()) { names.getString(it) } }

    /** Classify an upright picture: classes by probability, highest first. */
    fun classify(picture: Picture, top: Int = 3): Answers {
        val given = outputs(fitted(picture))
        val ranked = finished(given).withIndex().sortedByDescending { it.value }.take(top)
        val bar = about.optJSONObject("none_of_these")?.getDouble("bar")
        val distance = if (file.optBoolean("distance")) given.getOrNull(file.optInt("batch", 1) * classes.size) else null
        val known = if (bar != null && distance != null) distance <= bar else null
        return Answers(known, ranked.map { Answer(classes[it.index], it.value) })
    }

    /** The probability of each class, in the model's order. */
    fun probabilities(picture: Picture) = finished(outputs(fitted(picture)))

    /** Check the answer to a picture drawn here against the export's: null if right, else what differs. */
    fun check(): String? {
        val drawn = file.getJSONObject("drawn")
        val width = drawn.getInt("width")
        val fitted = fitted(Picture(IntArray(width * drawn.getInt("height")) { drawnPixel(it % width, it / width) }, width, drawn.getInt("height")))
        val pixels = numbers(fitted, how, "uint8", "NHWC")
        val sum = CRC32().apply { for (place in 0 until pixels.capacity()) update(pixels.get(place).toInt()) }.value
        if (sum != drawn.getLong("pixels_crc32")) return "the pixels differ"
        val expected = numbersOf(drawn.getJSONArray("outputs"))
        val most = (if (file.getString("precision") == "int8") 0.1 else 0.01) * expected.maxOf { abs(it) }
        val off = outputs(fitted).zip(expected) { one, other -> abs(one - other) }.max()
        return if (off <= most) null else "the pixels are right, but an output differs by $off"
    }

    private fun fitted(picture: Picture) = if (inside) picture else fit(picture, how)

    private fun finished(given: List<Float>) =
        given.take(classes.size).let { if (file.getString("output") == "probabilities") it else softmax(it) }

    private fun outputs(picture: Picture): List<Float> {
        val batch = file.optInt("batch", 1) // null: any number
        val layout = file.getString("layout")
        val (width, height) = picture.width.toLong() to picture.height.toLong()
        val shape = if (layout == "NCHW") longArrayOf(batch.toLong(), 3, height, width) else longArrayOf(batch.toLong(), height, width, 3)
        return run(numbers(picture, how, file.getString("input"), layout, batch), shape).asList()
    }
}

private fun drawnPixel(x: Int, y: Int) =
    (0..2).fold(0) { made, channel -> made shl 8 or ((x * x * (channel + 1) + 3 * y * (x + 5 * channel)) shr 5 and 255) }

private fun numbersOf(values: JSONArray) = List(values.length()) { values.getDouble(it) }

private fun preprocessing(how: JSONObject) = Preprocessing(
    how.getInt("size"), how.getString("resize"), how.getDouble("crop_fraction"), how.getString("interpolation"),
    how.getDouble("scale"), numbersOf(how.getJSONArray("mean")), numbersOf(how.getJSONArray("std")),
    numbersOf(how.getJSONArray("fill")).map { it.toInt() },
)
