// The file in ONNX Runtime; implementation("com.microsoft.onnxruntime:onnxruntime-android:1.20.0")
package mobilenets

import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import android.content.Context
import java.nio.ByteBuffer
import org.json.JSONObject

/** Opens the file that assets/model.json describes: do it once, off the main thread. */
fun openModel(context: Context): Model {
    val json = context.assets.open("model.json").use { it.readBytes().decodeToString() }
    val file = JSONObject(json).getJSONObject("export")
    val environment = OrtEnvironment.getEnvironment()
    environment.setTelemetry(false) // else it reports its use to its maker
    val session = environment.createSession(context.assets.open(file.getString("file")).use { it.readBytes() })
    fun tensor(numbers: ByteBuffer, shape: LongArray) =
        if (file.getString("input") == "uint8") OnnxTensor.createTensor(environment, numbers, shape, OnnxJavaType.UINT8)
        else OnnxTensor.createTensor(environment, numbers.asFloatBuffer(), shape)
    return Model(json) { numbers, shape ->
        tensor(numbers, shape).use { input ->
            session.run(mapOf(session.inputNames.first() to input)).use { result ->
                val given = listOf(result.get(0)) + listOf("distance").mapNotNull { result.get(it).orElse(null) }
                given.map { (it as OnnxTensor).floatBuffer }.map { values -> FloatArray(values.remaining()).also { values.get(it) } }
                    .reduce(FloatArray::plus)
            }
        }
    }
}
