// As jobs.cpp, with Preprocess.kt; with a file's name, the checks of Model.kt in place of a runtime.
package mobilenets

import java.io.BufferedOutputStream
import java.io.DataInputStream
import java.io.File
import java.nio.ByteBuffer

fun bytesOf(buffer: ByteBuffer) = ByteArray(buffer.capacity()) { buffer.get(it) }

/** Say whether Model finds its drawn picture right with outputs that are right, and with others; and how it answers. */
fun model(file: String) {
    val json = File(file).readText()
    val outputs = org.json.JSONObject(json).getJSONObject("export").getJSONObject("drawn").getJSONArray("outputs")
    val scores = FloatArray(outputs.length()) { outputs.getDouble(it).toFloat() }
    var fed = 0
    val right = Model(json) { numbers, shape -> fed = numbers.capacity() / shape.reduce(Long::times).toInt(); scores }
    println(right.check())
    println(Model(json) { _, _ -> FloatArray(scores.size) { scores[it] + 9 } }.check()?.take(20))
    println(Model(json.replace("\"pixels_crc32\": ", "\"pixels_crc32\": 1")) { _, _ -> scores }.check())
    println(fed)
    val picture = Picture(IntArray(1), 1, 1)
    println(right.classify(picture).joinToString { "${it.label} ${it.probability}" })
    println(listOf(1.5f, 1.6f, Float.NaN).joinToString(" ") { far ->
        "${Model(json) { _, shape -> FloatArray(shape[0].toInt() * scores.size) { scores[it % scores.size] } + far }.classify(picture).known}"
    })
}

fun main(arguments: Array<String>) {
    if (arguments.isNotEmpty()) return model(arguments[0])
    val input = DataInputStream(System.`in`.buffered())
    val output = BufferedOutputStream(System.out)
    while (true) {
        @Suppress("DEPRECATION") val words = (input.readLine() ?: break).split(" ")
        val numbers = words.map { it.toDoubleOrNull() ?: 0.0 }
        val (width, height, bytes, orientation) = numbers.take(4).map { it.toInt() }
        val how = Preprocessing(
            numbers[4].toInt(), words[5], numbers[6], words[7], numbers[8], numbers.subList(9, 12), numbers.subList(12, 15),
            numbers.subList(15, 18).map { it.toInt() },
        )
        val read = ByteArray(bytes * width * height).also { input.readFully(it) }
        val pixels = IntArray(width * height) { place ->
            val (red, green, blue) = List(3) { read[bytes * place + it].toInt() and 255 }
            val alpha = if (bytes == 4) read[4 * place + 3].toInt() else place // without alpha the highest byte means nothing
            alpha shl 24 or (red shl 16) or (green shl 8) or blue
        }
        if (bytes == 4) layOnWhite(pixels)
        val made = fit(Picture(pixels, width, height).upright(orientation), how)
        output.write(bytesOf(numbers(made, how, "uint8", "NHWC")))
        val layout = if (numbers[18] == 1.0) "NCHW" else "NHWC"
        for (kind in listOf("uint8", "float32")) output.write(bytesOf(numbers(made, how, kind, layout, numbers[19].toInt())))
    }
    output.flush()
}
