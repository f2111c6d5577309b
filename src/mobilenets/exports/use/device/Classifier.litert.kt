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
        val tensors = List(interpreter.outputTensorCount) { interpreter.getOutputTensor(it) }
        val outputs = tensors.map { ByteBuffer.allocateDirect(it.numBytes()).order(ByteOrder.nativeOrder()) }
        interpreter.runForMultipleInputsOutputs(arrayOf(numbers), outputs.withIndex().associate { it.index to it.value })
        // The scores are N x classes, the distances N.
        outputs.indices.sortedByDescending { tensors[it].shape().size }.map { place ->
            val values = outputs[place].also { it.rewind() }.asFloatBuffer()
            FloatArray(values.remaining()).also { values.get(it) }
        }.reduce(FloatArray::plus)
    }
}
