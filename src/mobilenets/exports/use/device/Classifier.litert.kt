// The file in LiteRT; implementation("com.google.ai.edge.litert:litert:1.0.1")
package mobilenets

import android.content.Context
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.json.JSONObject
import org.tensorflow.lite.Interpreter

/** Opens the file that assets/model.json describes: do it once, off the main thread. */
fun openModel(context: Context): Model {
    val json = context.assets.open("model.json").use { it.readBytes().decodeToString() }
    val name = JSONObject(json).getJSONObject("export").getString("file")
    val bytes = context.assets.open(name).use { it.readBytes() }
    val interpreter = Interpreter(ByteBuffer.allocateDirect(bytes.size).order(ByteOrder.nativeOrder()).put(bytes))
    return Model(json) { numbers, _ ->
        val output = ByteBuffer.allocateDirect(interpreter.getOutputTensor(0).numBytes()).order(ByteOrder.nativeOrder())
        interpreter.run(numbers, output)
        output.rewind()
        FloatArray(output.capacity() / 4).also { output.asFloatBuffer().get(it) }
    }
}
